"""Tables as LaTeX that fit the page of a paper, with the notes in a file of their own.

A table is laid out for a text block of 5.5 by 9 inches, that of ICLR and NeurIPS, in letters of
fixed size, so that the document's own size does not matter. Columns that are too many for the width
go into parts below each other; a table that is too tall for a page becomes a `longtable`. Widths
are estimated from Computer Modern, which is wider than Times.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from sde_edit.report.table import (
    SUGGESTED,
    Block,
    Cell,
    RowKind,
    Table,
    count,
    counts,
    format_central,
    interval,
    is_pivoted,
    metric_label,
    readable,
    reading_notes,
    runs_by_arm,
)

_TEX_SUGGESTED = r"$^{\circ}$"
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": "$<$", ">": "$>$", "|": "$|$", '"': r"\symbol{34}",
    "“": r"\textquotedblleft{}", "”": r"\textquotedblright{}",
    "\N{NO-BREAK SPACE}": r"\nobreakspace{}", "\N{MINUS SIGN}": "$-$", "—": "---",
    "\N{EN DASH}": "--", "\N{MULTIPLICATION SIGN}": r"$\times$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", SUGGESTED: _TEX_SUGGESTED,
}  # fmt: skip
_TEX_MARKS = {"better": "$^{+}$", "worse": "$^{-}$"}

# In points: letters of 8 on lines of 9.5, and small ones of 7 on lines of 8.
_WIDTH, _HEIGHT = 397.0, 565.0  # room for a table; the caption takes the rest of the height
_SIZE, _SMALL = r"\fontsize{8}{9.5}\selectfont", r"\fontsize{7}{8}\selectfont"
_LINE, _SMALL_LINE = 9.5, 8.0
_LETTER, _SMALL_LETTER = 4.8, 4.0  # a bold digit, and a small one
_WIDTHS = {  # of signs, in those of a digit
    **dict.fromkeys("abcdefghknopqrsuvxyz", 0.93),
    **dict.fromkeys(".,:;[]()|! ijlt", 0.58),
    **dict.fromkeys("ABCDEFGHJKLNOPQRSTUVXYZ", 1.3),
    **dict.fromkeys("mwMW%↑↓—\N{MINUS SIGN}", 1.55),
}
_NEARER = rf"*[{_SMALL_LINE - _LINE:g}pt]"  # the end of the line above small letters
_RULE = 5.5  # a line between blocks
_GAP, _MARK = 3.0, 6.0  # on each side of a column; the mark of a verdict
_LABELS = (30, 18)  # letters of a line of a row's label

_NUMBERED = re.compile(r"^[^:]*\b(Table|Fig\.) \w+: ")


def tex_escape(text: str) -> str:
    r"""Escape plain text for LaTeX; text in backquotes becomes \texttt."""
    escaped = "".join(_TEX.get(letter, letter) for letter in text)
    return re.sub(r"`([^`]*)`", r"\\texttt{\1}", escaped)


def _prose(text: str) -> str:
    """As `tex_escape`, with t_0 as a formula; for what is no code."""
    return re.sub(r"\bt\\_0\b", "$t_0$", tex_escape(text))


def latex(table: Table) -> str:
    """A booktabs table with the best value of every column in bold; the notes are `latex_notes`."""
    table = _labelled(table)
    shown = readable(table)
    layout = _layout(shown)
    tabulars = [_tabular(table, shown, layout, part) for part in layout.parts]
    body = (_long if layout.tall else _float)(table.name, _caption(table), tabulars)
    packages = "{booktabs,longtable}" if layout.tall else "{booktabs}"
    return "\n".join([rf"% needs \usepackage{packages}", *_trace(table), *body]) + "\n"


def latex_notes(table: Table) -> str:
    """What the numbers rest on: findings, conventions, settings and remarks, for an appendix."""
    table = _labelled(table)
    shown = readable(table)
    notes = [
        *(f"{b.title}: {b.summary}" for b in table.blocks if b.summary),
        *(f"{b.title}: {b.convention}." for b in shown.blocks if b.convention),
        *shown.notes,
    ]
    lines = [
        rf"\paragraph{{Notes to Table~\ref{{tab:{table.name}}}}}",
        r"\begin{itemize}\footnotesize\raggedright\setlength{\itemsep}{0pt}\setlength{\parskip}{0pt}",
        *(rf"\item {_breakable(note)}" for note in notes),
        r"\end{itemize}",
    ]
    return "\n".join(lines if notes else lines[:1]) + "\n"


def _breakable(note: str) -> str:
    """A note as LaTeX, with places to break the line inside settings and commands."""
    breaks = r"(?<=\w)(=|/|\\_)(?=\w)|(?<=[^\W\d])([.,])(?=\w)"
    return re.sub(breaks, r"\g<0>\\allowbreak{}", tex_escape(note))


def _labelled(table: Table) -> Table:
    """The table with metrics under the names that a reader knows."""
    blocks = tuple(replace(block, title=metric_label(block.title)) for block in table.blocks)
    return replace(table, blocks=blocks)


# ------------------------------------------------------------------ layout
@dataclass(frozen=True)
class _Layout:
    """beside: whether intervals follow their values or stand below them. letters: of a line of a
    row's label. widths: of the columns. parts: the columns of each part of the table. height: of
    all parts.
    """

    beside: bool
    letters: int
    widths: tuple[float, ...]
    parts: tuple[tuple[int, ...], ...]
    height: float

    @property
    def tall(self) -> bool:
        """Whether it is too tall for a page."""
        return self.height > _HEIGHT


def _layout(table: Table) -> _Layout:
    """The layout that is least tall."""
    tried = [_placed(table, *choice) for choice in product((True, False), _LABELS)]
    return min(tried, key=lambda layout: layout.height)


def _placed(table: Table, beside: bool, letters: int) -> _Layout:
    places = range(len(table.columns))
    widths = tuple(_column_width(table, i, beside) for i in places)
    room = _WIDTH - _label_width(table, letters)
    for number in range(1, len(places) + 1):
        size = math.ceil(len(places) / number)
        parts = tuple(tuple(places[i : i + size]) for i in places[::size])
        if all(sum(widths[i] for i in part) <= room for part in parts):
            break
    height = sum(_height(table, part, beside, letters) for part in parts)
    return _Layout(beside, letters, widths, parts, height)


def _label_width(table: Table, letters: int) -> float:
    labels = [table.corner, *(row.label for block in table.blocks for row in block.rows)]
    return max(_width(line) for label in labels for line in _wrapped(label, letters))


def _column_width(table: Table, column: int, beside: bool) -> float:
    cells = [row.cells[column] for block in table.blocks for row in block.rows]
    words = table.columns[column].label.split()
    return max([*(_cell_width(table, c, beside) for c in cells), *map(_width, words)]) + 2 * _GAP


def _cell_width(table: Table, cell: Cell, beside: bool) -> float:
    value = _width(format_central(cell)) + _MARK * bool(_mark(cell))
    small = _width(_under(table, cell), _SMALL_LETTER)
    return value + small + _SMALL_LETTER * bool(small) if beside else max(value, small)


def _width(text: str, letter: float = _LETTER) -> float:
    return sum(_WIDTHS.get(sign, 1.0) for sign in text) * letter


def _height(table: Table, part: Sequence[int], beside: bool, letters: int) -> float:
    headings = 3 + sum(bool(block.heading) for block in table.blocks)
    rows = (row for block in table.blocks for row in block.rows)
    height = headings * _LINE + (3 + len(table.blocks)) * _RULE
    for row in rows:
        lines = len(_wrapped(row.label, letters))
        below = not beside and any(_under(table, row.cells[i]) for i in part)
        height += max(lines - 1, 1) * _LINE + _SMALL_LINE if below else lines * _LINE
    return height


def _wrapped(text: str, letters: int) -> list[str]:
    """Lines of whole words; a single long word may exceed them."""
    lines = textwrap.wrap(text, max(letters, 1), break_long_words=False, break_on_hyphens=False)
    return lines or [""]


# ------------------------------------------------------------------ the parts of a table
@dataclass(frozen=True)
class _Tabular:
    """The letters for its columns, its lines of headings, and its rows."""

    columns: str
    heading: list[str]
    rows: list[str]


def _float(name: str, caption: str, tabulars: Sequence[_Tabular]) -> list[str]:
    lines = [
        r"\begin{table}[tp]",
        rf"\centering{_SIZE}\setlength{{\tabcolsep}}{{{_GAP:g}pt}}",
        caption,
        rf"\label{{tab:{name}}}\par\smallskip",
    ]
    for i, tabular in enumerate(tabulars):
        lines += [r"\par\medskip"] if i else []
        lines += [rf"\begin{{tabular}}{{{tabular.columns}}}", r"\toprule", *tabular.heading]
        lines += [*tabular.rows, r"\bottomrule", r"\end{tabular}"]
    return [*lines, r"\end{table}"]


def _long(name: str, caption: str, tabulars: Sequence[_Tabular]) -> list[str]:
    """Over several pages, with the headings on each."""
    lines = [
        rf"\begingroup{_SIZE}\setlength{{\tabcolsep}}{{{_GAP:g}pt}}"
        r"\setlength{\LTcapwidth}{\linewidth}"
    ]
    for i, tabular in enumerate(tabulars):
        first = [] if i else [caption, rf"\label{{tab:{name}}} \\"]
        lines += [rf"\begin{{longtable}}{{{tabular.columns}}}", *first]
        lines += [r"\toprule", *tabular.heading, r"\midrule", r"\endfirsthead"]
        lines += [r"\toprule", *tabular.heading, r"\midrule", r"\endhead"]
        lines += [r"\bottomrule", r"\endfoot", *tabular.rows[1:], r"\end{longtable}"]
        lines += [r"\addtocounter{table}{-1}"] if i else []  # every longtable counts as a table
    return [*lines, r"\endgroup"]


def _caption(table: Table) -> str:
    """The title without a number of its own, and how to read the table."""
    title = _NUMBERED.sub("", table.title)
    title = _prose(title[:1].upper() + title[1:])
    bold = (
        ["Bold marks the best value of each metric in each column."]
        if _best(table, readable(table))
        else []
    )
    reading = tex_escape(" ".join([*bold, *reading_notes(readable(table), "<better>", "<worse>")]))
    for verdict, mark in _TEX_MARKS.items():
        reading = reading.replace(tex_escape(f"<{verdict}>"), mark)
    sentence = f"{title}." if title else ""
    return rf"\caption[{{{title}}}]{{{' '.join(filter(None, (sentence, reading)))}}}"


def _trace(table: Table) -> Iterator[str]:
    for label, ids in runs_by_arm(table):
        for column, names in zip(table.columns, ids, strict=True):
            yield f"% {label}; {column.heading}: {names or 'no run'}"


def _tabular(table: Table, shown: Table, layout: _Layout, part: Sequence[int]) -> _Tabular:
    best = _best(table, shown)
    rows = [
        line
        for i, block in enumerate(shown.blocks)
        for line in _block(shown, block, layout, part, {(r, c) for b, r, c in best if b == i})
    ]
    return _Tabular(f"@{{}}l{'c' * len(part)}@{{}}", _heading(shown, layout, part), rows)


def _heading(table: Table, layout: _Layout, part: Sequence[int]) -> list[str]:
    spans = _spans([table.columns[i].group for i in part])
    lines = []
    if any(group for group, *_ in spans):
        cells = [rf"\multicolumn{{{n}}}{{c}}{{{_prose(group)}}}" for group, _, n in spans]
        lines.append(_line(["", *cells]))
        lines.append("".join(rf"\cmidrule(lr){{{at}-{at + n - 1}}}" for _, at, n in spans))
    labels = [
        _stacked(_wrapped(table.columns[i].label, int(layout.widths[i] / _LETTER)), "bc")
        for i in part
    ]
    return [*lines, _line([_stacked(_wrapped(table.corner, layout.letters), "bl"), *labels])]


def _stacked(lines: Sequence[str], place: str) -> str:
    """Lines of text in one cell. place: which of them is level with the row, and the side."""
    text = r" \\ ".join(map(_prose, lines))
    if len(lines) == 1:
        return text
    return rf"\begin{{tabular}}[{place[0]}]{{@{{}}{place[1]}@{{}}}}{text}\end{{tabular}}"


def _spans(groups: Sequence[str]) -> list[tuple[str, int, int]]:
    """(group, first LaTeX column, columns) of each stretch of equal neighbours."""
    spans: list[tuple[str, int, int]] = []
    for i, group in enumerate(groups):
        if spans and spans[-1][0] == group:
            spans[-1] = (group, spans[-1][1], spans[-1][2] + 1)
        else:
            spans.append((group, i + 2, 1))
    return spans


def _block(
    table: Table, block: Block, layout: _Layout, part: Sequence[int], best: set[tuple[str, int]]
) -> Iterator[str]:
    """Lines; those with a star stay on the page of the next line."""
    yield r"\midrule"
    if block.heading:
        room = _label_width(table, layout.letters) + sum(layout.widths[i] for i in part)
        for line in _wrapped(block.heading, int(room / _LETTER)):
            title = rf"\textit{{{tex_escape(line)}}}"
            yield rf"\multicolumn{{{len(part) + 1}}}{{@{{}}l}}{{{title}}} \\*"
    for row in block.rows:
        label = _wrapped(row.label, layout.letters)
        values = [_value(row.cells[i], bold=(row.label, i) in best) for i in part]
        small = [_small(table, row.cells[i]) for i in part]
        if layout.beside:
            pairs = (filter(None, pair) for pair in zip(values, small, strict=True))
            yield _line([_stacked(label, "tl"), *map(r"\,".join, pairs)])
        elif any(small):
            yield _line([_prose(label[0]), *values]) + _NEARER
            yield _line([_stacked(label[1:] or [""], "tl"), *small])
        else:
            yield _line([_stacked(label, "tl"), *values])


def _best(table: Table, shown: Table) -> set[tuple[int, str, int]]:
    """(block, row, column) of the best values as they are shown.

    Measured and published values are compared among themselves. Where all are equal none is best.
    """
    kinds: tuple[RowKind, ...] = ("arm", "paper")
    directions = [block.higher_is_better for block in table.blocks]
    pivoted = is_pivoted(table)
    found = set()
    for i, block in enumerate(shown.blocks):
        for column in range(len(shown.columns)):
            higher = directions[column] if pivoted else block.higher_is_better
            for kind in kinds:
                cells = {r.label: r.cells[column] for r in block.rows if r.kind == kind}
                found |= {(i, label, column) for label in _best_of(cells, higher)}
    return found


def _best_of(cells: dict[str, Cell], higher_is_better: bool | None) -> list[str]:
    values = {
        label: round(cell.value, cell.decimals)
        for label, cell in cells.items()
        if cell.value is not None
    }
    if higher_is_better is None or len(set(values.values())) < 2:
        return []
    best = max(values.values()) if higher_is_better else min(values.values())
    return [label for label, value in values.items() if value == best]


def _value(cell: Cell, *, bold: bool) -> str:
    text = tex_escape(format_central(cell))
    return (rf"\textbf{{{text}}}" if bold else text) + _mark(cell)


def _mark(cell: Cell) -> str:
    """The mark of a verdict, or of a hint; "" for undecided."""
    return _TEX_MARKS.get(cell.verdict, _TEX_SUGGESTED * cell.suggested)


def _small(table: Table, cell: Cell) -> str:
    text = _under(table, cell)
    return rf"{{{_SMALL} {tex_escape(text)}}}" if text else ""


def _under(table: Table, cell: Cell) -> str:
    """What stands in small letters beside or below a value."""
    return " ".join(filter(None, (interval(cell), count(cell, always=len(counts(table)) > 1))))


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
