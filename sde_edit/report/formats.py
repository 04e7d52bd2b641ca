"""Tables as Markdown, CSV and JSON; writing of tables and figures to files."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import gt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from tabulate import tabulate

from sde_edit.report.excerpt import EVERYTHING, Excerpt
from sde_edit.report.latex import latex, latex_notes
from sde_edit.report.table import (
    DECIDED,
    MISSING,
    SUGGESTED,
    Block,
    Cell,
    Table,
    count,
    counts,
    effect_text,
    format_central,
    interval,
    readable,
    reading_notes,
    runs_by_arm,
)
from sde_edit.store.files import DamagedFileError, child, read_regular, write_together

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# ------------------------------------------------------------------ Markdown
def markdown(table: Table) -> str:
    """GitHub Markdown: findings, one small table per block, then conventions and settings."""
    shown = readable(table)
    parts = [f"# {table.title}" if table.title else ""]
    parts.append(_bullets([f"**{b.heading}**: {b.summary}" for b in table.blocks if b.summary]))
    parts.append(" ".join(reading_notes(table, "**better**", "**worse**")))
    for block in shown.blocks:
        parts.append(f"## {block.heading}" if block.heading else "")
        parts.append(_markdown_block(shown, block))
    parts += _markdown_effects(table)
    parts.append(_markdown_footing(table, shown))
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_block(table: Table, block: Block) -> str:
    always = len(counts(table)) > 1
    lines = [
        [row.label, *(_markdown_cell(c, always=always) for c in row.cells)] for row in block.rows
    ]
    return _pipes([table.corner, *(column.heading for column in table.columns)], lines)


def _markdown_cell(cell: Cell, *, always: bool) -> str:
    mark = f"**{cell.verdict}**" if cell.verdict in DECIDED else SUGGESTED * cell.suggested
    return " ".join(
        filter(None, (format_central(cell), interval(cell), mark, count(cell, always=always)))
    )


def _markdown_effects(table: Table) -> list[str]:
    """The sizes of the differences whose metrics have a value for each image; [] without any."""
    lines = [
        [f"{block.title}: {row.label}", *(effect_text(cell) or MISSING for cell in row.cells)]
        for block in table.blocks
        for row in block.rows
        if row.kind == "difference" and any(map(effect_text, row.cells))
    ]
    if not lines:
        return []
    reading = (
        "The mean of the paired differences over their standard deviation, and the share of images "
        "in which A is better (ties half)."
    )
    headings = [table.corner, *(column.heading for column in table.columns)]
    return ["## Effect sizes of A \N{MINUS SIGN} B", reading, _pipes(headings, lines)]


def _markdown_footing(table: Table, shown: Table) -> str:
    notes = [f"{b.title}: {b.convention}" for b in shown.blocks if b.convention]
    trace = [
        [label, *(f"`{i}`" if i else MISSING for i in ids)] for label, ids in runs_by_arm(table)
    ]
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
    "verdict", "runs", "text", "primary", "pointwise", "p", "adjusted", "exploratory", "effect",
    "superiority", "detectable",
)  # fmt: skip


_BLANK = (None,) * 5  # of a cell that is no judged difference


def to_csv(table: Table) -> str:
    """One line per cell, with unrounded numbers and run ids separated by spaces."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_HEADINGS)
    writer.writerows(csv_rows(table))
    return buffer.getvalue()


def csv_rows(table: Table) -> Iterator[tuple[Any, ...]]:
    """The values under `CSV_HEADINGS` of every cell."""
    for block, row, column, c in table.cells():
        place = (table.name, block.title, row.label, row.kind, column.group, column.label)
        judged = (c.primary, c.pointwise, c.p, c.adjusted, c.exploratory) if c.pointwise else _BLANK
        yield (
            *(*place, c.value, c.low, c.high, c.n, c.of, c.verdict, " ".join(c.runs), c.text),
            *(*judged, c.effect, c.superiority, c.detectable),
        )


def to_json(table: Table) -> str:
    """The whole table, with unrounded numbers."""
    return TypeAdapter(Table).dump_json(table, indent=2).decode() + "\n"


def from_json(text: str) -> Table:
    """The table that `to_json` wrote. Raises ValueError if the text is no table."""
    return TypeAdapter(Table).validate_json(text)


# ------------------------------------------------------------------ files
def rendered(table: Table, folder: Path, excerpt: Excerpt = EVERYTHING) -> dict[Path, bytes]:
    """The files of a table and their content: its data as CSV and JSON, and those to read."""
    data = {".csv": to_csv(table), ".json": to_json(table)}
    return rendered_to_read(table, folder, excerpt) | _named(table, folder, data)


def rendered_to_read(table: Table, folder: Path, excerpt: Excerpt) -> dict[Path, bytes]:
    """A table as Markdown, and an excerpt of it as LaTeX with a second file of notes.

    Raises UserError for a name in the excerpt that the table lacks, and for a name of the table
    that leads out of the folder.
    """
    part = excerpt.of(table)
    forms = {".md": markdown(table), ".tex": latex(part), "-notes.tex": latex_notes(part)}
    return _named(table, folder, forms)


def _named(table: Table, folder: Path, forms: Mapping[str, str]) -> dict[Path, bytes]:
    return {child(folder, f"{table.name}{end}"): text.encode() for end, text in forms.items()}


def lost_cells(table: Table, file: Path) -> list[str]:
    """The cells of a table's JSON file that rest on more images or runs than those of `table`.

    A file that is missing or holds no table has none.
    """
    try:
        old = from_json(read_regular(file).decode())
    except (FileNotFoundError, DamagedFileError, ValueError):
        return []
    now, before = _support(table), _support(old)
    return [place for place, support in before.items() if any(map(gt, support, now[place]))]


def _support(table: Table) -> dict[str, tuple[int, int]]:
    """Place of a cell of an arm -> the numbers of images and runs behind it; (0, 0) elsewhere."""
    found: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for block, row, column, cell in table.cells():
        if row.kind == "arm" and cell.n is not None:
            place = ", ".join(filter(None, (block.title, row.label, column.heading)))
            found[place] = (cell.n, len(cell.runs))
    return found


def rendered_figure(figure: Figure, name: str, folder: Path) -> dict[Path, bytes]:
    """The files `<folder>/<name>.{png,svg,pdf}` and their content.

    The same figure and matplotlib give the same bytes. Raises UserError for a name that leads out
    of the folder.
    """
    from matplotlib import rc_context  # takes 0.4 s, which listings save

    from sde_edit.report.plot_style import RC

    files = {}
    for suffix, dated in (("png", "Software"), ("svg", "Date"), ("pdf", "CreationDate")):
        buffer = io.BytesIO()
        with rc_context(RC):
            figure.savefig(buffer, format=suffix, dpi=200, metadata={dated: None})
        files[child(folder, f"{name}.{suffix}")] = buffer.getvalue()
    return files


def write_figure(figure: Figure, name: str, folder: Path) -> list[Path]:
    """Write the files of a figure, all or none. Raises UserError on failure."""
    files = rendered_figure(figure, name, folder)
    write_together(files)
    return list(files)
