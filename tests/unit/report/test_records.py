"""Records as CSV, JSON and Parquet."""

import csv
import io
import json

import pyarrow.parquet

from sde_edit.report.records import records_csv, records_json, records_parquet

RECORDS = [
    {"run": "a", "steps": 25, "t_0": 1, "words": "a, b", "mixed": "half", "drags": [[1, 2]]},
    {"run": "b", "steps": 50, "t_0": 0.5, "words": None, "mixed": 3, "drags": None},
]


def test_csv_has_a_line_for_each_record():
    rows = list(csv.reader(io.StringIO(records_csv(RECORDS))))
    assert rows == [
        ["run", "steps", "t_0", "words", "mixed", "drags"],
        ["a", "25", "1", "a, b", '"half"', "[[1,2]]"],
        ["b", "50", "0.5", "", "3", ""],
    ]


def test_json_keeps_every_value():
    assert json.loads(records_json(RECORDS)) == RECORDS


def test_parquet_has_one_type_for_each_column():
    table = pyarrow.parquet.read_table(io.BytesIO(records_parquet(RECORDS)))
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "run": "string", "steps": "int64", "t_0": "double", "words": "string", "mixed": "string",
        "drags": "string",
    }  # fmt: skip
    assert table.column("t_0").to_pylist() == [1.0, 0.5]
    assert table.column("mixed").to_pylist() == ['"half"', "3"]
