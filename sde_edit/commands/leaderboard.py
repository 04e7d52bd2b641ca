"""Every run with its scores, and the values of single images, as text and for other tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sde_edit.commands.choice import Choice, choose
from sde_edit.errors import UserError
from sde_edit.report.cells import common_convention
from sde_edit.report.formats import markdown
from sde_edit.report.latex import latex
from sde_edit.report.leaderboard import (
    best_first,
    leaderboard_records,
    leaderboard_table,
    setting_records,
)
from sde_edit.report.records import Record, records_csv, records_json, records_parquet
from sde_edit.report.table import Table
from sde_edit.store.files import reason, write_atomic

_TABLES: Mapping[str, Callable[[Table], str]] = {"md": markdown, "tex": latex}
_RECORDS: Mapping[str, Callable[[Sequence[Record]], str | bytes]] = {
    "csv": records_csv,
    "json": records_json,
    "parquet": records_parquet,
}


def leaderboard(
    words: Sequence[str], *, sort: str | None, form: str, out: Path | None
) -> str | None:
    """The runs that the words choose, best first by the metric `sort`, as text, or None if it is
    written to `out`.

    form: md, tex, csv, json or parquet, which needs `out`. Raises UserError if no run is left.
    """
    choice = choose(words)
    listings, metrics = choice.listings, choice.metrics
    if sort is not None:
        listings = tuple(best_first(listings, sort))
    if form in _TABLES:
        return _deliver(_TABLES[form](leaderboard_table(listings, metrics)), out)
    return _deliver(_RECORDS[form](leaderboard_records(listings, metrics)), out)


def export(words: Sequence[str], *, form: str, out: Path | None) -> str | None:
    """The value of every metric on every image, of the runs that the words choose, as text, or None
    if it is written to `out`.

    form: csv or parquet, which needs `out`. Raises UserError if there are no values, or if runs
    disagree on the convention of a metric.
    """
    choice = choose(words)
    records = _values(choice)
    if not records:
        raise UserError(
            "these runs have no scores of single images: a distance of distributions such as FID "
            "has none. `sde-edit evaluate RUN metrics=[psnr]` adds them"
        )
    return _deliver(_RECORDS[form](records), out)


def _values(choice: Choice) -> list[dict[str, Any]]:
    listings = choice.listings
    for metric in choice.metrics:
        common_convention(metric, [one for one in listings if metric in one.scores])
    settings = setting_records([one.spec for one in listings])
    return [
        {"run": one.id, **own, "example": example, "metric": metric, "value": value}
        for one, own in zip(listings, settings, strict=True)
        for metric, score in one.run.scores().items()
        if metric in choice.metrics
        for example, value in sorted((score.per_example or {}).items())
    ]


def _deliver(content: str | bytes, out: Path | None) -> str | None:
    if out is None:
        if isinstance(content, bytes):
            raise UserError("Parquet is no text for a terminal: give --out FILE.parquet")
        return content
    try:
        write_atomic(out.resolve(), content if isinstance(content, bytes) else content.encode())
    except UserError as error:
        raise UserError(f"--out {out}: cannot be written ({reason(error)})") from error
    return None
