"""The bars of a study, as in Figs. 3 and 7 of the paper: how often each arm was chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sde_edit.report.plot_style import COLUMN, RC, arms, styles_of, wrapped, write_title
from sde_edit.report.table import Cell, Row, Table, percent
from sde_edit.study.results import PREFERENCE

_BAR = 0.55  # inches from bar to bar
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
        axes.plot([cell.low, cell.high], [place, place], color="black", marker="|", markersize=7)
    _write(axes, place, 0.02, "left", f"{left} {percent(cell.value)}")
    _write(axes, place, 0.98, "right", f"{percent(other.value)} {right}")
    axes.text(0, place - 0.26, wrapped(heading, COLUMN), va="bottom", fontsize=7)


def _write(axes: Axes, place: int, x: float, side: str, text: str) -> None:
    """Text on a bar, on a ground that sets it off from the bar and the whisker."""
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.2}
    axes.text(x, place, text, ha=side, va="center", fontsize=7, bbox=ground)


def _style(axes: Axes, rows: int) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(rows - 0.6, -0.6)
    axes.set_yticks([])
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.axvline(0.5, color="black", linewidth=0.6, linestyle=":")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("chosen")
