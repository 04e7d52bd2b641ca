"""Tables of numbers with intervals, and their four forms: Markdown, CSV, LaTeX and JSON.

A `Table` holds all that any form shows, so that the forms cannot disagree; JSON reads back into an
equal `Table`. Nothing here knows what a cell means: `sde_edit/tables/` fills tables from runs and
`sde_edit/figures/` draws them. No time, host or path enters a file: the same runs give the same
bytes.
"""

from __future__ import annotations

import csv
import io
import math
import re
import statistics
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter
from tabulate import tabulate

from sde_edit import registry
from sde_edit.store import Run, write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sde_edit.types import Choice

MISSING = "—"
Verdict = Literal["better", "worse", "undecided", ""]
RowKind = Literal["arm", "difference", "paper"]


# ------------------------------------------------------------------ what a table is


@dataclass(frozen=True)
class Cell:
    """One entry. `value` None is a missing one; `text` stands in for a number where it is given.

    low, high: 95 % interval. n of `of` images. runs: the ids of the runs it was made of.
    verdict: of a difference, whether its interval excludes 0 and to whose advantage.
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

    @property
    def partial(self) -> bool:
        """Made of fewer images than the data set has."""
        return self.n is not None and self.of is not None and self.n < self.of


@dataclass(frozen=True)
class Row:
    label: str
    kind: RowKind
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Block:
    """Rows that share a metric; `higher_is_better` None where the question makes no sense."""

    title: str
    rows: tuple[Row, ...]
    higher_is_better: bool | None = None
    summary: str = ""
    convention: str = ""

    @property
    def heading(self) -> str:
        return " ".join(filter(None, (self.title, arrow(self.higher_is_better))))


@dataclass(frozen=True)
class Column:
    """`group` spans neighbouring columns, as 'small masks' spans 25, 50 and 100 steps."""

    group: str
    label: str

    @property
    def heading(self) -> str:
        return ", ".join(filter(None, (self.group, self.label)))


@dataclass(frozen=True)
class Table:
    """`corner` names what the column labels count. Backquotes in notes mark code."""

    name: str
    title: str
    corner: str
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()

    def cells(self) -> Iterator[tuple[Block, Row, Column, Cell]]:
        for block in self.blocks:
            for row in block.rows:
                for column, cell in zip(self.columns, row.cells, strict=True):
                    yield block, row, column, cell


@dataclass(frozen=True)
class Published:
    """Numbers of a paper: values[metric][arm][group] is a list along `steps`.

    where: the runs that the numbers may stand beside, as `where` of a table; for all others they
    are set apart. higher: metrics of which higher is better.
    """

    source: str
    setting: str
    where: dict[str, str | int | float | bool]
    steps: list[int]
    values: dict[str, dict[str, dict[str, list[float]]]]
    higher: list[str]

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)


def published_title(metric: str) -> str:
    """The title of a block of published numbers that are no match for ours."""
    return f"Published {metric.upper()}, another experiment"


def build_table(config: Mapping[str, Any], runs: Sequence[Run]) -> Table:
    """The table of a `conf/table/*.yaml`. Raises UserError for a wrong setting or unfit runs."""
    others = ("kind", "figure", "sheet", "failures")
    params = {key: value for key, value in config.items() if key not in others}
    table: Table = registry.build("tables", config["kind"], params).build(runs)
    return table


def build_composition(
    config: Mapping[str, Any], data: Choice, counts: Mapping[str, Mapping[str, int]]
) -> Table:
    """The table of a `conf/table/*.yaml` that has no runs, of what a data set is made of."""
    params = {key: value for key, value in config.items() if key != "kind"}
    table: Table = registry.build("tables", config["kind"], params).build(data, counts)
    return table


def build_figure(config: Mapping[str, Any], table: Table) -> Figure | None:
    """The figure that a table's config asks for under `figure:`; None if it asks for none.

    `name` there is that of its files (see `figure_name`).
    """
    settings = {k: v for k, v in (config.get("figure") or {}).items() if k != "name"}
    if not settings:
        return None
    figure: Figure = registry.build("figures", settings.pop("kind"), settings).draw(table)
    return figure


def transposed(table: Table) -> Table:
    """Rows for columns: the narrow form of a table of one untitled block, for a terminal."""
    (block,) = table.blocks
    columns = tuple(Column("", row.label) for row in block.rows)
    lines = zip(*(row.cells for row in block.rows), strict=True)
    rows = (Row(c.heading, "arm", cells) for c, cells in zip(table.columns, lines, strict=True))
    return replace(table, corner="", columns=columns, blocks=(Block("", tuple(rows)),))


def figure_name(config: Mapping[str, Any], table: str) -> str:
    """What the files of a table's figure are called: as the table, unless the figure has a name."""
    return str((config.get("figure") or {}).get("name", table))


def readable(table: Table) -> Table:
    """As Markdown and LaTeX show it: one column is turned into lines, or each metric would be a
    block with one number per line; a number of images that all cells share is said once."""
    one_column = len(table.columns) == 1 and all(block.title for block in table.blocks)
    return counted_once(turned(table) if one_column else table)


def turned(table: Table) -> Table:
    """A table of one column the other way round: a line per arm, a column per metric or cost.

    Differences are a block of their own, and so are published numbers. Conventions, and what stood
    over the column, become notes.
    """
    (column,) = table.columns
    columns = tuple(Column("", block.heading) for block in table.blocks)
    blocks = [_turned_block(table, kind, title) for kind, title in _TURNED.items()]
    notes = [f"{b.title}: {b.convention}." for b in table.blocks if b.convention]
    notes.append(f"{table.corner}: {column.heading} in every line.")
    return replace(
        table,
        corner="",
        columns=columns,
        blocks=tuple(block for block in blocks if block.rows),
        notes=(*notes, *table.notes),
    )


_TURNED: dict[RowKind, str] = {"arm": "", "difference": "Differences", "paper": "Published"}


def _turned_block(table: Table, kind: RowKind, title: str) -> Block:
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


def counted_once(table: Table) -> Table:
    """If all cells are of the same part of the data set, a note says so in place of each cell."""
    counted = {(cell.n, cell.of) for *_, cell in table.cells() if cell.n is not None}
    if len(counted) != 1 or not any(cell.partial for *_, cell in table.cells()):
        return table
    ((n, of),) = counted
    blocks = tuple(
        replace(block, rows=tuple(map(_uncounted, block.rows))) for block in table.blocks
    )
    return replace(table, blocks=blocks, notes=(f"n: {n} of the data set's {of}.", *table.notes))


def _uncounted(row: Row) -> Row:
    return replace(row, cells=tuple(replace(cell, of=None) for cell in row.cells))


# ------------------------------------------------------------------ numbers as text


def arrow(higher_is_better: bool | None) -> str:
    return "" if higher_is_better is None else "↑" if higher_is_better else "↓"


def aligned(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """The cells with common decimals: two significant digits of the typical half interval.

    Without intervals: as many as the values have, at most four significant digits.
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
    """Fixed decimals, a true minus sign, and no negative zero."""
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "\N{MINUS SIGN}")


def interval(cell: Cell) -> str:
    """'[low, high]', or nothing."""
    if cell.low is None or cell.high is None:
        return ""
    return f"[{number(cell.low, cell.decimals)}, {number(cell.high, cell.decimals)}]"


def count(cell: Cell, *, always: bool) -> str:
    """'(n = 64 of 256)' for a partial run; '(n = 256)' for a full one if `always`."""
    if cell.partial:
        return f"(n = {cell.n} of {cell.of})"
    return f"(n = {cell.n})" if always and cell.n is not None else ""


def central(cell: Cell) -> str:
    """The value alone, or what stands in for it."""
    if cell.value is None:
        return cell.text or MISSING
    return cell.text or number(cell.value, cell.decimals)


def counts(table: Table) -> list[int]:
    """The different n of the table's cells."""
    return sorted({cell.n for *_, cell in table.cells() if cell.n is not None})


def _decided(table: Table) -> bool:
    return any(cell.verdict for *_, cell in table.cells())


def _intervals(table: Table) -> bool:
    return any(cell.low is not None for *_, cell in table.cells())


def _reading(table: Table, better: str, worse: str) -> list[str]:
    """How to read the cells; `better` and `worse` are the marks of the form at hand."""
    lines = []
    if _intervals(table):
        lines.append("Brackets: 95 % interval, bootstrap over the examples.")
    if _decided(table):
        lines.append(
            f"Differences are paired by example. {better}: the interval excludes 0 to the "
            f"advantage of the sampler named first; {worse}: to its disadvantage; no mark: "
            "undecided. No correction for the number of cells."
        )
    if len(counts(table)) == 1:
        lines.append(f"n = {counts(table)[0]} images in every cell.")
    return lines


def _trace(table: Table) -> list[tuple[str, list[str]]]:
    """Per arm, the run ids behind each column."""
    found: dict[str, list[dict[str, None]]] = {}
    for block in table.blocks:
        for row in block.rows:
            if row.kind == "arm":
                ids = found.setdefault(row.label, [{} for _ in table.columns])
                for seen, cell in zip(ids, row.cells, strict=True):
                    seen.update(dict.fromkeys(cell.runs))
    return [(label, [" ".join(seen) for seen in ids]) for label, ids in found.items() if any(ids)]


# ------------------------------------------------------------------ Markdown


def markdown(table: Table) -> str:
    """GitHub Markdown: findings first, then one small table per block, then what it rests on."""
    shown = readable(table)
    parts = [f"# {table.title}" if table.title else ""]
    parts.append(_bullets([f"**{b.heading}**: {b.summary}" for b in table.blocks if b.summary]))
    parts.append(" ".join(_reading(table, "**better**", "**worse**")))
    for block in shown.blocks:
        parts.append(f"## {block.heading}" if block.heading else "")
        parts.append(_markdown_block(shown, block))
    parts.append(_markdown_footing(table, shown))
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_block(table: Table, block: Block) -> str:
    always = len(counts(table)) > 1
    lines = [
        [row.label, *(_markdown_cell(c, always=always) for c in row.cells)] for row in block.rows
    ]
    return _pipes([table.corner, *(column.heading for column in table.columns)], lines)


def _markdown_cell(cell: Cell, *, always: bool) -> str:
    mark = f"**{cell.verdict}**" if cell.verdict in ("better", "worse") else ""
    return " ".join(filter(None, (central(cell), interval(cell), mark, count(cell, always=always))))


def _markdown_footing(table: Table, shown: Table) -> str:
    notes = [f"{b.title}: {b.convention}" for b in shown.blocks if b.convention]
    trace = [[label, *(f"`{i}`" if i else MISSING for i in ids)] for label, ids in _trace(table)]
    parts = ["## What the numbers rest on" if notes or shown.notes else ""]
    parts.append(_bullets([*notes, *shown.notes]))
    if trace and table.blocks[0].title:
        parts.append("Run ids:")
        parts.append(_pipes([table.corner, *(c.heading for c in table.columns)], trace))
    return "\n\n".join(part for part in parts if part)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _pipes(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    def escape(texts: Sequence[str]) -> list[str]:
        return [text.replace("|", "\\|") for text in texts]

    rows = [escape(line) for line in lines]
    return tabulate(rows, escape(headings), tablefmt="pipe", disable_numparse=True)


# ------------------------------------------------------------------ CSV and JSON

CSV_HEADINGS = (
    "table", "metric", "row", "kind", "group", "column", "value", "low", "high", "n", "of",
    "verdict", "runs", "text",
)  # fmt: skip


def to_csv(table: Table) -> str:
    """One line per cell, numbers unrounded; run ids separated by spaces; UTF-8."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_HEADINGS)
    for block, row, column, c in table.cells():
        place = (table.name, block.title, row.label, row.kind, column.group, column.label)
        writer.writerow(
            (*place, c.value, c.low, c.high, c.n, c.of, c.verdict, " ".join(c.runs), c.text)
        )
    return buffer.getvalue()


def to_json(table: Table) -> str:
    """Everything, numbers unrounded."""
    return TypeAdapter(Table).dump_json(table, indent=2).decode() + "\n"


def from_json(text: str) -> Table:
    """The table that `to_json` wrote. Raises ValueError if it is none."""
    return TypeAdapter(Table).validate_json(text)


# ------------------------------------------------------------------ LaTeX

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "\N{MINUS SIGN}": "$-$", "—": "---", "\N{EN DASH}": "--",
    "\N{MULTIPLICATION SIGN}": r"$\times$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$",
}  # fmt: skip
_TEX_COLUMNS = 6  # what fits the width of a page
_TEX_HEADING = 22  # letters of a line of a heading
_TEX_MARKS = {"better": "$^{+}$", "worse": "$^{-}$"}


def tex_escape(text: str) -> str:
    r"""Plain text for LaTeX; what stands in backquotes becomes \texttt."""
    escaped = "".join(_TEX.get(letter, letter) for letter in text)
    return re.sub(r"`([^`]*)`", r"\\texttt{\1}", escaped)


def latex(table: Table) -> str:
    """A booktabs table, the interval of a cell in small print under its value."""
    shown = readable(table)
    wide = len(shown.columns) > _TEX_COLUMNS
    packages = ["{booktabs}", "[T1]{fontenc}", *(["{graphicx}"] if wide else [])]
    needed = " and ".join(rf"\usepackage{package}" for package in packages)
    lines = [
        f"% needs {needed}",
        *_tex_trace(table),
        r"\begin{table}[t]",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{tex_escape(table.title)}}}",
        rf"\label{{tab:{table.name}}}",
        *([r"\resizebox{\textwidth}{!}{%"] if wide else []),
        *_tex_tabular(shown),
        *(["}"] if wide else []),
        *_tex_notes(table, shown),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _tex_tabular(table: Table) -> list[str]:
    return [
        rf"\begin{{tabular}}{{l{'c' * len(table.columns)}}}",
        r"\toprule",
        *_tex_heading(table),
        *(line for block in table.blocks for line in _tex_block(table, block)),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _tex_trace(table: Table) -> Iterator[str]:
    for label, ids in _trace(table):
        for column, names in zip(table.columns, ids, strict=True):
            yield f"% {label}; {column.heading}: {names or 'no run'}"


def _tex_heading(table: Table) -> list[str]:
    spans = _spans([column.group for column in table.columns])
    lines = []
    if any(group for group, *_ in spans):
        cells = [rf"\multicolumn{{{n}}}{{c}}{{{tex_escape(group)}}}" for group, _, n in spans]
        lines.append(_tex_line(["", *cells]))
        lines.append("".join(rf"\cmidrule(lr){{{at}-{at + n - 1}}}" for _, at, n in spans))
    labels = [_tex_stacked(text) for text in (table.corner, *(c.label for c in table.columns))]
    return [*lines, _tex_line(labels)]


def _tex_stacked(heading: str) -> str:
    """A long heading in several lines, broken at spaces."""
    lines = textwrap.wrap(heading, _TEX_HEADING, break_long_words=False)
    stacked = r" \\ ".join(map(tex_escape, lines))
    return rf"\shortstack{{{stacked}}}" if len(lines) > 1 else stacked


def _spans(groups: Sequence[str]) -> list[tuple[str, int, int]]:
    """(group, first LaTeX column, columns) of each stretch of equal neighbours."""
    spans: list[tuple[str, int, int]] = []
    for i, group in enumerate(groups):
        if spans and spans[-1][0] == group:
            spans[-1] = (group, spans[-1][1], spans[-1][2] + 1)
        else:
            spans.append((group, i + 2, 1))
    return spans


def _tex_block(table: Table, block: Block) -> Iterator[str]:
    always = len(counts(table)) > 1
    yield r"\midrule"
    if block.heading:
        title = tex_escape(block.heading)
        yield rf"\multicolumn{{{len(table.columns) + 1}}}{{l}}{{\textit{{{title}}}}} \\"
    for row in block.rows:
        yield _tex_line([tex_escape(row.label), *(_tex_value(cell) for cell in row.cells)])
        small = [_tex_small(cell, always=always) for cell in row.cells]
        if any(small):
            yield _tex_line(["", *small])


def _tex_value(cell: Cell) -> str:
    return tex_escape(central(cell)) + _TEX_MARKS.get(cell.verdict, "")


def _tex_small(cell: Cell, *, always: bool) -> str:
    text = " ".join(filter(None, (interval(cell), count(cell, always=always))))
    return rf"{{\scriptsize {tex_escape(text)}}}" if text else ""


def _tex_line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _tex_notes(table: Table, shown: Table) -> list[str]:
    conventions = [f"{b.title}: {b.convention}." for b in shown.blocks if b.convention]
    summaries = [f"{b.title}: {b.summary}" for b in table.blocks if b.summary]
    reading = " ".join([*summaries, *_reading(table, "<better>", "<worse>")])
    marked = tex_escape(reading).replace(tex_escape("<better>"), _TEX_MARKS["better"])
    marked = marked.replace(tex_escape("<worse>"), _TEX_MARKS["worse"])
    rest = [tex_escape(note) for note in (*conventions, *shown.notes)]
    return [r"\par\smallskip", r"{\footnotesize\raggedright", marked, *rest, r"\par}"]


# ------------------------------------------------------------------ files


def write(table: Table, folder: Path) -> list[Path]:
    """`<folder>/<name>.{md,csv,tex,json}`, each replaced whole. Raises UserError if it cannot."""
    forms = {"md": markdown, "csv": to_csv, "tex": latex, "json": to_json}
    texts = {folder / f"{table.name}.{suffix}": form(table) for suffix, form in forms.items()}
    for path, text in texts.items():
        write_atomic(path, text.encode())
    return list(texts)


def write_figure(figure: Figure, name: str, folder: Path) -> list[Path]:
    """`<folder>/<name>.{png,svg}`; the same figure and matplotlib give the same bytes."""
    from matplotlib import rc_context  # 0.4 s that a listing need not pay

    written = []
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        buffer = io.BytesIO()
        with rc_context({"svg.hashsalt": "sde-edit"}):
            figure.savefig(buffer, format=suffix, dpi=150, metadata=metadata)
        written.append(folder / f"{name}.{suffix}")
        write_atomic(written[-1], buffer.getvalue())
    return written
