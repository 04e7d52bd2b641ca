"""Tables as LaTeX."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from sde_edit.report.table import (
    Block,
    Cell,
    Table,
    count,
    counts,
    format_central,
    interval,
    readable,
    reading_notes,
    runs_by_arm,
)

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "\N{MINUS SIGN}": "$-$", "—": "---", "\N{EN DASH}": "--",
    "\N{MULTIPLICATION SIGN}": r"$\times$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$",
}  # fmt: skip

_TEX_COLUMNS = 6  # columns that fit the width of a page
_TEX_HEADING = 22  # characters per line of a heading
_TEX_MARKS = {"better": "$^{+}$", "worse": "$^{-}$"}


def tex_escape(text: str) -> str:
    r"""Escape plain text for LaTeX; text in backquotes becomes \texttt."""
    escaped = "".join(_TEX.get(letter, letter) for letter in text)
    return re.sub(r"`([^`]*)`", r"\\texttt{\1}", escaped)


def latex(table: Table) -> str:
    """A booktabs table with the interval of a cell in small print under its value."""
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
    for label, ids in runs_by_arm(table):
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
    """A heading; a long one is broken at spaces into several lines."""
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
    return tex_escape(format_central(cell)) + _TEX_MARKS.get(cell.verdict, "")


def _tex_small(cell: Cell, *, always: bool) -> str:
    text = " ".join(filter(None, (interval(cell), count(cell, always=always))))
    return rf"{{\scriptsize {tex_escape(text)}}}" if text else ""


def _tex_line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _tex_notes(table: Table, shown: Table) -> list[str]:
    conventions = [f"{b.title}: {b.convention}." for b in shown.blocks if b.convention]
    summaries = [f"{b.title}: {b.summary}" for b in table.blocks if b.summary]
    reading = " ".join([*summaries, *reading_notes(table, "<better>", "<worse>")])
    marked = tex_escape(reading).replace(tex_escape("<better>"), _TEX_MARKS["better"])
    marked = marked.replace(tex_escape("<worse>"), _TEX_MARKS["worse"])
    rest = [tex_escape(note) for note in (*conventions, *shown.notes)]
    return [r"\par\smallskip", r"{\footnotesize\raggedright", marked, *rest, r"\par}"]
