"""The bars of a study, as in Figs. 3 and 7 of the paper: how often each arm was chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sde_edit.report.plot_style import COLUMN, GREY, RC, arms, styles_of, write_title
from sde_edit.report.table import Cell, Row, Table, percent
from sde_edit.study.results import PREFERENCE

_BAR = 0.5  # inches from bar to bar
_Ends = tuple[tuple[str, Cell], tuple[str, Cell]]


@rc_context(RC)
def bars(table: Table) -> Figure:
    """A bar for each pair of arms and group of raters, split where the preference is; the whisker
    is the 95 % interval."""
    block = next(block for block in table.blocks if block.title == PREFERENCE)
    rows = list(_pairs(table, arms(block)))
    figure = Figure(figsize=(COLUMN, 0.5 + _BAR * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (heading, pair) in enumerate(rows):
        _draw_bar(axes, place, heading, pair)
    _style(axes, len(rows))
    write_title(figure, table.title)
    return figure


def _pairs(table: Table, rows: Sequence[Row]) -> Iterator[tuple[str, _Ends]]:
    """(heading, the two arms with their cells) of each column with answers about a pair."""
    for i, column in enumerate(table.columns):
        there = [(row.label, row.cells[i]) for row in rows if row.cells[i].value is not None]
        if len(there) == 2:
            yield column.group or column.label, (there[0], there[1])


def _draw_bar(axes: Axes, place: int, heading: str, pair: _Ends) -> None:
    (left, cell), (right, other) = pair
    assert cell.value is not None
    assert other.value is not None
    styles = styles_of((left, right))
    axes.barh(place, cell.value, height=0.4, color=styles[left].colour)
    axes.barh(place, other.value, left=cell.value, height=0.4, color=styles[right].colour)
    if cell.low is not None and cell.high is not None:
        _draw_whisker(axes, place, (cell.low, cell.high))
    above = place - 0.26
    axes.text(0, above, f"{left} {percent(cell.value)}", ha="left", va="bottom", fontsize=7)
    axes.text(1, above, f"{percent(other.value)} {right}", ha="right", va="bottom", fontsize=7)
    axes.text(0.5, above, heading, ha="center", va="bottom", fontsize=6, color=GREY)


def _draw_whisker(axes: Axes, place: int, ends: tuple[float, float]) -> None:
    """Black with a white rim, which is seen on every colour."""
    for colour, more in (("white", 2.0), ("black", 0.0)):
        axes.plot(
            ends, [place, place], color=colour, linewidth=1.2 + more,
            marker="|", markersize=7 + more, markeredgewidth=1.2 + more,
        )  # fmt: skip


def _style(axes: Axes, rows: int) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(rows - 0.6, -0.6)
    axes.set_yticks([])
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.axvline(0.5, color="white", linewidth=0.6, linestyle=":")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("chosen")
