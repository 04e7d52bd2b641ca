"""Records, which are mappings with the same keys, as CSV, JSON and Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sde_edit.store.files import canonical

Record = Mapping[str, Any]


def records_csv(records: Sequence[Record]) -> str:
    """A line for each record below their keys; what is missing is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = _columns(records)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return buffer.getvalue()


def records_json(records: Sequence[Record]) -> str:
    """A list of objects; settings that are lists or mappings stay what they are."""
    return json.dumps(records, indent=2, allow_nan=False) + "\n"


def records_parquet(records: Sequence[Record]) -> bytes:
    """A table that pandas, polars and DuckDB read."""
    import pyarrow
    from pyarrow import parquet

    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(_columns(records)), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _columns(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Key -> its values, of one type: where they are of several, as JSON."""
    return {key: _uniform([record[key] for record in records]) for key in records[0]}


def _uniform(values: list[Any]) -> list[Any]:
    types = {type(value) for value in values if value is not None}
    if any(types <= allowed for allowed in ({str}, {bool}, {int, float})):
        return values
    return [None if value is None else canonical(value) for value in values]
