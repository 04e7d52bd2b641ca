"""Tables of numbers with intervals.

A `Table` holds everything that its four forms (Markdown, CSV, LaTeX, JSON) show, so that they
cannot disagree; JSON reads back into an equal `Table`. Nothing here knows what a cell means:
`tables/` fills tables from runs and `figures/` draws them. No time, host or path enters a file: the
same runs give the same bytes.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field

from sde_edit.report.multiplicity import LEVEL

MISSING = "—"
MINUS = "\N{MINUS SIGN}"
SUGGESTED = "\N{DEGREE SIGN}"
_TIE = "\N{NO-BREAK SPACE}"
Verdict = Literal["better", "worse", "undecided", ""]
RowKind = Literal["arm", "difference", "paper"]
DECIDED: tuple[Verdict, ...] = ("better", "worse")


def _unset(value: Any) -> bool:
    """Whether JSON leaves it out, as in tables that were written before there was such a field."""
    return value is None or value is False or value in ("", ())


_OMITTED = Field(exclude_if=_unset)
OVER_IMAGES = "the 95 % bootstrap interval over the images"


# ------------------------------------------------------------------ the table
@dataclass(frozen=True)
class Cell:
    """One entry of a table. value: None if it is missing. text: shown in place of the number.

    low, high: 95 % interval, of this cell alone. n, of: number of images, and of those in the data
    set. runs: the ids of the runs behind it.

    The others are of differences A - B. verdict: whether A is better or worse, over all comparisons
    of its family together. primary: whether that is the family of the primary endpoints.
    pointwise: the verdict of its own interval, which decides if it excludes 0. p: two-sided, of
    this cell alone. adjusted: p over the family, by step-down max-T. exploratory: whether
    Benjamini-Hochberg finds a difference. effect: the mean of the paired differences of single
    images over their standard deviation. superiority: the share of images in which A is better,
    ties half. detectable: the smallest difference that n images show with probability 0.8; None for
    so few that they can decide nothing.

    In tables from before there were families, `verdict` is that of its own interval, and the fields
    from `primary` on are empty.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    of: int | None = None
    runs: tuple[str, ...] = ()
    verdict: Verdict = ""
    decimals: int = 3
    text: str = ""
    primary: Annotated[bool, _OMITTED] = False
    pointwise: Annotated[Verdict, _OMITTED] = ""
    p: Annotated[float | None, _OMITTED] = None
    adjusted: Annotated[float | None, _OMITTED] = None
    exploratory: Annotated[bool, _OMITTED] = False
    effect: Annotated[float | None, _OMITTED] = None
    superiority: Annotated[float | None, _OMITTED] = None
    detectable: Annotated[float | None, _OMITTED] = None

    @property
    def suggested(self) -> bool:
        """Whether only Benjamini-Hochberg finds a difference, not the family."""
        return self.exploratory and self.verdict not in DECIDED

    @property
    def partial(self) -> bool:
        """Whether it covers fewer images than the data set has."""
        return self.n is not None and self.of is not None and self.n < self.of


@dataclass(frozen=True)
class Row:
    """A line of a block, with one cell for each column of the table.

    stands_for: the labels of arms that the table leaves out because their runs are those of this
    one.
    """

    label: str
    kind: RowKind
    cells: tuple[Cell, ...]
    stands_for: Annotated[tuple[str, ...], _OMITTED] = ()


@dataclass(frozen=True)
class Block:
    """Rows that share a metric; `higher_is_better` is None where no direction is better."""

    title: str
    rows: tuple[Row, ...]
    higher_is_better: bool | None = None
    summary: str = ""
    convention: str = ""

    @property
    def heading(self) -> str:
        """The title, with an arrow towards better values, and which differences are primary."""
        differences = [row for row in self.rows if row.kind == "difference"]
        primary = [row.label for row in differences if any(cell.primary for cell in row.cells)]
        which = f": {', '.join(primary)}" if len(primary) < len(differences) else ""
        mark = f"(primary{which})" if primary else ""
        return " ".join(filter(None, (self.title, arrow(self.higher_is_better), mark)))


@dataclass(frozen=True)
class Column:
    """`group` is a heading over neighbouring columns, such as 'small masks' over 25, 50, 100."""

    group: str
    label: str

    @property
    def heading(self) -> str:
        """The group and the label."""
        return ", ".join(filter(None, (self.group, self.label)))


@dataclass(frozen=True)
class Table:
    """`corner` names the quantity in the column labels. Backquotes in notes mark code.

    intervals: what the low and high ends of its cells are.
    """

    name: str
    title: str
    corner: str
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()
    intervals: Annotated[str, Field(exclude_if=lambda text: text == OVER_IMAGES)] = OVER_IMAGES

    def cells(self) -> Iterator[tuple[Block, Row, Column, Cell]]:
        """Every cell with its block, row and column."""
        for block in self.blocks:
            for row in block.rows:
                for column, cell in zip(self.columns, row.cells, strict=True):
                    yield block, row, column, cell


def published_title(metric: str) -> str:
    """The title of a block of published numbers that are not comparable with ours."""
    return f"Published {metric.upper()}, another experiment"


def split_into_rows(labels: Sequence[str], kind: RowKind, cells: Sequence[Cell]) -> tuple[Row, ...]:
    """Rows with these labels, which get equal numbers of the cells in order."""
    size = len(cells) // max(len(labels), 1)
    lines = [tuple(cells[i * size : (i + 1) * size]) for i in range(len(labels))]
    return tuple(Row(label, kind, line) for label, line in zip(labels, lines, strict=True))


def figure_name(config: Mapping[str, Any], table: str) -> str:
    """The name of the files of a table's figure: its own name, by default that of the table."""
    return str((config.get("figure") or {}).get("name", table))


def readable(table: Table) -> Table:
    """The table as Markdown and LaTeX show it.

    A table of one column is pivoted, because otherwise each metric would be a block with one number
    per line. A number of images that all cells share is stated once.
    """
    return hoist_counts(pivoted(table) if is_pivoted(table) else table)


def is_pivoted(table: Table) -> bool:
    """Whether a reader sees it pivoted: if it has one column, and more to show than one number."""
    return len(table.columns) == 1 and all(block.title for block in table.blocks)


def pivoted(table: Table) -> Table:
    """A table of one column, turned into a row per arm and a column per metric or cost.

    Differences and published numbers become blocks of their own. Conventions and the heading of the
    column become notes.
    """
    (column,) = table.columns
    columns = tuple(Column("", block.heading) for block in table.blocks)
    blocks = [_pivoted_block(table, kind, title) for kind, title in _PIVOTED.items()]
    notes = [f"{b.title}: {b.convention}." for b in table.blocks if b.convention]
    notes.append(f"{table.corner}: {column.heading} in every line.")
    return replace(
        table,
        corner="",
        columns=columns,
        blocks=tuple(block for block in blocks if block.rows),
        notes=(*notes, *table.notes),
    )


_PIVOTED: dict[RowKind, str] = {"arm": "", "difference": "Differences", "paper": "Published"}


def _pivoted_block(table: Table, kind: RowKind, title: str) -> Block:
    found = {
        (row.label, i): row.cells[0]
        for i, block in enumerate(table.blocks)
        for row in block.rows
        if row.kind == kind
    }
    places = range(len(table.blocks))
    lines = (
        (label, tuple(found.get((label, i), Cell()) for i in places))
        for label in dict.fromkeys(label for label, _ in found)
    )
    return Block(title, tuple(Row(label, kind, cells) for label, cells in lines))


def hoist_counts(table: Table) -> Table:
    """If all cells cover the same part of the data set, state it in a note, not in each cell."""
    counted = {(cell.n, cell.of) for *_, cell in table.cells() if cell.n is not None}
    if len(counted) != 1 or not any(cell.partial for *_, cell in table.cells()):
        return table
    ((n, of),) = counted
    blocks = tuple(
        replace(block, rows=tuple(map(_uncounted, block.rows))) for block in table.blocks
    )
    return replace(
        table, blocks=blocks, notes=(f"n = {n} of the data set's {of} images.", *table.notes)
    )


def _uncounted(row: Row) -> Row:
    return replace(row, cells=tuple(replace(cell, of=None) for cell in row.cells))


# ------------------------------------------------------------------ names and numbers as text
_ACRONYMS = ("psnr", "ssim", "fid", "kid", "lpips", "clip", "l2")


def metric_label(title: str) -> str:
    """A metric's key as a reader knows it: 'source LPIPS' for source_lpips; other titles stay."""
    words = title.replace("_", " ").split(" ")
    return " ".join(word.upper() if word in _ACRONYMS else word for word in words)


def arrow(higher_is_better: bool | None) -> str:
    """The direction of better values: an arrow up or down, or ""."""
    return "" if higher_is_better is None else "↑" if higher_is_better else "↓"


def with_common_decimals(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """The cells with equal decimals: two significant digits of the median half interval.

    Without intervals, as many as the values have, up to four significant digits.
    """
    cells = tuple(cells)
    decimals = _decimals(cells)
    return tuple(replace(cell, decimals=decimals) for cell in cells)


def _decimals(cells: Sequence[Cell]) -> int:
    halves = [
        (cell.high - cell.low) / 2
        for cell in cells
        if cell.low is not None and cell.high is not None and cell.high > cell.low
    ]
    if halves:
        return _clip(1 - math.floor(math.log10(statistics.median(halves))))
    values = [cell.value for cell in cells if cell.value is not None]
    return max((_own_decimals(value) for value in values), default=0)


def _own_decimals(value: float) -> int:
    exponent = Decimal(repr(float(value))).normalize().as_tuple().exponent
    own = -int(exponent)
    most = 3 - math.floor(math.log10(abs(value))) if value else 0
    return _clip(min(own, most))


def _clip(decimals: int) -> int:
    return max(0, min(decimals, 8))


def number(value: float, decimals: int) -> str:
    """A number with fixed decimals, a true minus sign, and no negative zero."""
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def percent(share: float) -> str:
    """A share as a whole percentage, such as '42 %'."""
    return f"{share:.0%}".replace("%", " %")


def interval(cell: Cell) -> str:
    """'[low, high]', or "" without an interval."""
    if cell.low is None or cell.high is None:
        return ""
    return f"[{number(cell.low, cell.decimals)}, {number(cell.high, cell.decimals)}]"


def count(cell: Cell, *, always: bool) -> str:
    """'(n = 64 of 256)' for a partial run; '(n = 256)' for a full one if `always`."""
    if cell.partial:
        return f"(n = {cell.n} of {cell.of})"
    return f"(n = {cell.n})" if always and cell.n is not None else ""


def format_central(cell: Cell) -> str:
    """The value without its interval, or the text in its place."""
    if cell.value is None:
        return cell.text or MISSING
    return cell.text or number(cell.value, cell.decimals)


def effect_text(cell: Cell) -> str:
    """The paired d and the probability of superiority, '0.29, 59 %', or "" without them."""
    if cell.superiority is None:
        return ""
    d = MISSING if cell.effect is None else number(cell.effect, 2)
    return f"{d}, {percent(cell.superiority)}"


def counts(table: Table) -> list[int]:
    """The distinct numbers of images in the table's cells, in ascending order."""
    return sorted({cell.n for *_, cell in table.cells() if cell.n is not None})


def _intervals(table: Table) -> bool:
    return any(cell.low is not None for *_, cell in table.cells())


def reading_notes(table: Table, better: str, worse: str) -> list[str]:
    """How to read the cells, in sentences. better, worse: the marks of these verdicts."""
    lines = []
    if len(counts(table)) == 1:
        lines.append(f"Every value is measured on n = {counts(table)[0]} images.")
    if _intervals(table):
        lines.append(f"Brackets hold {table.intervals}.")
    return [*lines, *_reading_of_verdicts(table, better, worse)]


def _reading_of_verdicts(table: Table, better: str, worse: str) -> list[str]:
    """What the marks of differences mean."""
    rows = f"Rows “A{_TIE}{MINUS}{_TIE}B” are differences on the same images"
    marks = f"{better}: A is better than B, {worse}: it is worse"
    cells = [cell for *_, cell in table.cells() if cell.verdict]
    if not cells:
        return []
    if not any(cell.pointwise for cell in cells):
        return [
            f"{rows}; {marks}, by a 95 % interval that excludes 0 and is not "
            "corrected for the number of cells; no mark: undecided."
        ]
    suggested = any(cell.suggested for cell in cells)
    families = (
        " The primary endpoints are one family, the others another."
        if any(cell.primary for cell in cells)
        else ""
    )
    hint = f"{SUGGESTED}: only by Benjamini-Hochberg at {LEVEL:g}, a hint; " if suggested else ""
    return [
        f"{rows}, with the interval of the cell alone; {marks}, over all comparisons of its family "
        f"together (step-down max-T at {LEVEL:g}); {hint}no mark: undecided.{families}"
    ]


def tally(table: Table) -> str:
    """How many differences are decided, with and without the correction; "" if none is compared."""
    cells = [cell for *_, cell in table.cells() if cell.pointwise]
    if not cells:
        return ""
    decided = sum(cell.verdict in DECIDED for cell in cells)
    alone = sum(cell.pointwise in DECIDED for cell in cells)
    return (
        f"{decided} of {len(cells)} comparisons decided; {alone} without the correction for their "
        "number"
    )


def runs_by_arm(table: Table) -> list[tuple[str, list[str]]]:
    """(arm, run ids behind each column), for arms that have runs."""
    found: dict[str, list[dict[str, None]]] = {}
    for block in table.blocks:
        for row in block.rows:
            if row.kind == "arm":
                ids = found.setdefault(row.label, [{} for _ in table.columns])
                for seen, cell in zip(ids, row.cells, strict=True):
                    seen.update(dict.fromkeys(cell.runs))
    return [(label, [" ".join(seen) for seen in ids]) for label, ids in found.items() if any(ids)]
