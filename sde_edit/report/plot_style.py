"""Colours, markers, dashes, legends and captions that the figures of tables share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sde_edit.report.table import Block, Cell, Row, Table, counts

GREY = "#555555"


@dataclass(frozen=True)
class Style:
    """How matplotlib draws an arm."""

    colour: str
    marker: str
    dash: Literal["-", "--", ":", "-."]


# Okabe and Ito's blue and vermillion first; marker and dash tell the arms apart without colour.
_STYLES = (
    Style("#0072B2", "o", "--"),
    Style("#D55E00", "s", "-"),
    Style("#009E73", "^", ":"),
    Style("#CC79A7", "D", "-."),
    Style("#E69F00", "v", "--"),
    Style("#56B4E9", "P", "-"),
    Style("#000000", "X", ":"),
)


def styles_of(labels: Iterable[str]) -> dict[str, Style]:
    """A style for each distinct label, in order.

    Of a pair X-ODE and X-SDE the ODE always gets the earlier style, so that an arm looks the same
    in every figure.
    """
    names = list(dict.fromkeys(labels))
    order = list(names)
    for i, name in enumerate(names):
        if (twin := name.replace("SDE", "ODE")) in names[i + 1 :]:
            at = names.index(twin)
            order[i], order[at] = order[at], order[i]
    found = dict(zip(order, cycle(_STYLES), strict=False))
    return {name: found[name] for name in names}


def arms(block: Block) -> list[Row]:
    """The rows of arms, without differences and published numbers."""
    return [row for row in block.rows if row.kind == "arm"]


def measured_blocks(table: Table) -> dict[str, Block]:
    """Metric -> its block, for blocks with a number to draw."""
    return {
        block.title: block
        for block in table.blocks
        if any(cell.value is not None for row in arms(block) for cell in row.cells)
    }


def value_and_interval(cell: Cell) -> tuple[float, float, float]:
    """(value, low, high); a cell without an interval gets one of length 0."""
    assert cell.value is not None
    low = cell.value if cell.low is None else cell.low
    high = cell.value if cell.high is None else cell.high
    return cell.value, low, high


def style_axes(axes: Axes, grid: Literal["both", "x", "y"]) -> None:
    """Draw light grid lines behind the data and hide the upper and right spines."""
    axes.grid(axis=grid, color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def arm_entry(style: Style, label: str) -> Line2D:
    """The legend entry of an arm."""
    return Line2D(
        [], [], color=style.colour, marker=style.marker, linestyle=style.dash, label=label
    )


def mark_entry(marker: str, face: str, label: str) -> Line2D:
    """The legend entry of a mark that any arm may have."""
    return Line2D(
        [], [], color=GREY, marker=marker, markerfacecolor=face, linestyle="", label=label
    )


def legend(figure: Figure, handles: list[Line2D], *, ncols: int, title: str) -> None:
    """Add a legend below the panels."""
    figure.legend(handles=handles, loc="outside lower center", ncols=ncols, frameon=False,
                  title=title, title_fontsize=9, fontsize=9)  # fmt: skip


def caption(table: Table) -> str:
    """What the bars mean, and how many images a point stands for."""
    n = counts(table)
    images = f"n = {n[0]}" if len(n) == 1 else f"n = {n[0]} to {n[-1]}"
    return f"Bars: 95 % bootstrap interval; {images} images per point"
