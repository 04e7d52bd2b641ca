"""Tables and claims as the templates show them: texts, marks, addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from sde_edit.report.cells import ROUNDING, verdict_text
from sde_edit.report.claim_forms import Judged, effect
from sde_edit.report.claims import score
from sde_edit.report.table import (
    DECIDED,
    Block,
    Cell,
    Column,
    Row,
    RowKind,
    Table,
    count,
    effect_text,
    format_central,
    interval,
    is_pivoted,
    metric_label,
    number,
    readable,
    reading_notes,
    tally,
)
from sde_edit.web.report.collect import Record, ShownRun, by_data, settings_labels

_Here = Mapping[str, str]  # id of a run in the store -> the key of its examples


@dataclass(frozen=True)
class CellView:
    """note: what is shown when one points at it. state: of the viewer that shows its examples, ""
    if its images are not here."""

    value: str
    interval: str
    verdict: str
    mark: str
    note: str
    state: str


@dataclass(frozen=True)
class RowView:
    label: str
    kind: str
    cells: tuple[CellView, ...]


@dataclass(frozen=True)
class BlockView:
    heading: str
    rows: tuple[RowView, ...]


@dataclass(frozen=True)
class TableView:
    """groups: the headings over the columns, with the number of columns below each; () without.

    absent: how many cells rest on runs that are not here.
    """

    name: str
    title: str
    corner: str
    groups: tuple[tuple[str, int], ...]
    columns: tuple[Column, ...]
    blocks: tuple[BlockView, ...]
    findings: tuple[str, ...]
    tally: str
    notes: tuple[str, ...]
    absent: int

    @property
    def page(self) -> str:
        """The path of its page."""
        return f"tables/{quote(self.name)}.html"


# ------------------------------------------------------------------ tables
def table_view(table: Table, here: _Here) -> TableView:
    """A table with the runs of the store: run id -> the key of its examples."""
    shown = readable(table)
    blocks = tuple(_block_view(table, block, here) for block in shown.blocks)
    cells = [cell for block in blocks for row in block.rows for cell in row.cells]
    conventions = [f"{b.title}: {b.convention}" for b in table.blocks if b.convention]
    return TableView(
        name=table.name,
        title=table.title or table.name,
        corner=shown.corner,
        groups=_groups(shown.columns),
        columns=shown.columns,
        blocks=blocks,
        findings=tuple(f"{b.heading}: {b.summary}" for b in table.blocks if b.summary),
        tally=tally(table),
        notes=(
            *reading_notes(table, "better", "worse"),
            *([] if is_pivoted(table) else conventions),
            *(note.replace("`", "") for note in shown.notes),
        ),
        absent=sum(_ABSENT in cell.note for cell in cells),
    )


def _groups(columns: Sequence[Column]) -> tuple[tuple[str, int], ...]:
    found: list[tuple[str, int]] = []
    for column in columns:
        if found and found[-1][0] == column.group:
            found[-1] = (column.group, found[-1][1] + 1)
        else:
            found.append((column.group, 1))
    return tuple(found) if any(group for group, _ in found) else ()


def _block_view(table: Table, block: Block, here: _Here) -> BlockView:
    rows = tuple(
        RowView(row.label, row.kind, tuple(_row_cells(table, block, row, here)))
        for row in block.rows
    )
    return BlockView(block.heading, rows)


def _row_cells(table: Table, block: Block, row: Row, here: _Here) -> Iterable[CellView]:
    for i, cell in enumerate(row.cells):
        # A table of one column is shown with a column for each of its blocks.
        measured, column = (table.blocks[i], 0) if is_pivoted(table) else (block, i)
        yield _cell_view(cell, measured, column, row.kind, here)


_ABSENT = "Its images are not here"


def _cell_view(cell: Cell, block: Block, column: int, kind: RowKind, here: _Here) -> CellView:
    there = [run for run in cell.runs if run in here]
    lines = [
        count(cell, always=True).strip("()"),
        *_judgement(cell),
        block.convention,
        _listed("run", cell.runs),
        "" if there or not cell.runs else f"{_ABSENT}: the results folder lacks these runs.",
    ]
    return CellView(
        value=format_central(cell),
        interval=interval(cell),
        verdict=verdict_text(cell) if cell.verdict in DECIDED or cell.suggested else "",
        mark=cell.verdict,
        note="\n".join(filter(None, lines)),
        state=_state(block.title, column, kind, there) if there else "",
    )


def _judgement(cell: Cell) -> list[str]:
    """What the note of a difference says of its size and its verdict."""
    if not cell.verdict:
        return []
    parts = [f"A is {cell.verdict}" if cell.verdict in DECIDED else "undecided"]
    if cell.adjusted is not None and cell.p is not None:
        parts.append(f"p = {cell.p:.2g} alone, {cell.adjusted:.2g} over its family")
    lines = ["; ".join(parts)]
    if text := effect_text(cell):
        lines.append(f"paired d and share of images in which A is better: {text}")
    if cell.detectable is not None:
        lines.append(f"smallest difference that n would show: {number(cell.detectable, 3)}")
    return lines


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{what}{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else ""


def _state(metric: str, column: int, kind: RowKind, runs: Sequence[str]) -> str:
    """The address of the examples behind a cell, in the page of its table.

    The runs of a difference A - B are those of A, then those of B.
    """
    rival = {"b": runs[-1]} if kind == "difference" and len(runs) > 1 else {}
    return urlencode({"c": column, "a": runs[0], **rival, "m": metric})


# ------------------------------------------------------------------ what the viewer can show
def table_record(table: Table, here: _Here) -> Record:
    """The runs behind a table, and its metrics, as the viewer reads them."""
    return {
        "name": table.name,
        "title": table.title or table.name,
        "corner": table.corner,
        "columns": [column.heading for column in table.columns],
        "entries": _entries(table, here),
        "metrics": _metrics(block.title for block in table.blocks),
        "rounding": ROUNDING,
    }


def _entries(table: Table, here: _Here) -> list[Record]:
    """For each column the runs of each arm that are here; several of one arm are numbered."""
    places: dict[tuple[int, str], dict[str, None]] = {}
    for block in table.blocks:
        for row in block.rows:
            for i, cell in enumerate(row.cells if row.kind == "arm" else ()):
                there = dict.fromkeys(run for run in cell.runs if run in here)
                places.setdefault((i, row.label), {}).update(there)
    return [
        {"column": column, "run": run, "data": here[run], "label": _numbered(label, k, len(runs))}
        for (column, label), runs in sorted(places.items(), key=lambda place: place[0][0])
        for k, run in enumerate(runs, 1)
    ]


def _numbered(label: str, k: int, of: int) -> str:
    return label if of == 1 else f"{label}, run {k} of {of}"


def _metrics(names: Iterable[str]) -> list[Record]:
    return [{"name": name, "label": metric_label(name)} for name in dict.fromkeys(names) if name]


def runs_record(runs: Sequence[ShownRun], metrics: Sequence[str]) -> Record:
    """All runs, with a column for each set of examples, as the viewer reads them."""
    groups = by_data(runs)
    entries = [
        {"column": column, "run": run.id, "data": run.data, "label": label}
        for column, group in enumerate(groups.values())
        for run, label in zip(group, settings_labels(group).values(), strict=True)
    ]
    return {
        "name": "runs",
        "title": "Runs",
        "corner": "data",
        "columns": [group[0].spec.data.name for group in groups.values()],
        "entries": entries,
        "metrics": _metrics(metrics),
        "rounding": ROUNDING,
    }


def run_states(record: Record) -> dict[str, str]:
    """Run id -> the address of its examples, in the page of all runs."""
    return {
        one["run"]: urlencode({"c": one["column"], "a": one["run"]}) for one in record["entries"]
    }


# ------------------------------------------------------------------ claims
@dataclass(frozen=True)
class ClaimView:
    """A finding on a claim. table: the name of its table; "" if that has no page."""

    topic: str
    sentence: str
    source: str
    world: str
    verdict: str
    score: str
    effect: str
    remedy: str
    table: str

    @property
    def tested(self) -> bool:
        return self.verdict != "not tested here"

    @property
    def mark(self) -> str:
        """The verdict as the name of a style."""
        return self.verdict.replace(" ", "-")

    @property
    def page(self) -> str:
        """The path of its table's page."""
        return f"tables/{quote(self.table)}.html"


def claim_views(judged: Sequence[Judged], tables: Iterable[str]) -> list[ClaimView]:
    """Every finding, by topic. tables: the names of those that have pages."""
    known = set(tables)
    return [
        ClaimView(
            topic=one.claim.topic,
            sentence=one.claim.sentence,
            source=one.source,
            world=str(finding.world),
            verdict=finding.verdict,
            score=score(one.claim, finding),
            effect=effect(one.claim, finding),
            remedy=finding.remedy,
            table=one.claim.table if one.claim.table in known else "",
        )
        for one in judged
        for finding in one.findings
    ]


def counted_verdicts(claims: Sequence[ClaimView]) -> list[tuple[str, int]]:
    """Verdict -> how many findings have it, for those that have any."""
    order = ("reproduced", "not reproduced", "undecided")
    counted = [(verdict, sum(one.verdict == verdict for one in claims)) for verdict in order]
    return [(verdict, times) for verdict, times in counted if times]


# ------------------------------------------------------------------ runs
@dataclass(frozen=True)
class RunView:
    """A line of the list of runs.

    cells: for each column the text, the interval, and what it is sorted by.
    """

    id: str
    state: str
    cells: tuple[tuple[str, str, str], ...]


def run_views(leaderboard: Table, states: Mapping[str, str]) -> list[RunView]:
    """The lines of the list of runs. states: run id -> the address of its examples."""
    return [
        RunView(row.label, states.get(row.label, ""), tuple(map(_sortable, row.cells)))
        for block in leaderboard.blocks
        for row in block.rows
    ]


def _sortable(cell: Cell) -> tuple[str, str, str]:
    key = cell.text if cell.value is None else repr(cell.value)
    return format_central(cell), interval(cell), key


# ------------------------------------------------------------------ figures
@dataclass(frozen=True)
class FigureView:
    """A figure. address: of its image, from the report's folder."""

    name: str
    address: str


def figure_views(results: Path) -> list[FigureView]:
    """The figures of a results folder, by name."""
    files = sorted((results / "figures").glob("*.png"))
    return [FigureView(file.stem, f"../figures/{quote(file.name)}") for file in files]
