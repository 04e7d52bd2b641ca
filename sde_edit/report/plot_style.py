"""What all figures share: sizes for a paper, colours and markers of methods, legends, captions."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, cycle
from typing import Any, Literal

from matplotlib import colors
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sde_edit.report.table import Block, Cell, Row, Table, counts

GREY = "#555555"
COLUMN, PAGE = 3.3, 6.9  # inches: a column and the whole width of a page in two columns
_LETTER, _LINE = 0.059, 0.16  # inches: the mean width of a letter of a legend, and a line

# Figures are drawn and written with these: letters in their printed size, fonts that are embedded,
# and no random names in SVG.
RC: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.title_fontsize": 7.5,
    "figure.titlesize": 9,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,
    "svg.hashsalt": "sde-edit",
}


# ------------------------------------------------------------------ methods
Dash = Literal["-", "--", ":", "-.", ""]


@dataclass(frozen=True)
class Style:
    """How matplotlib draws an arm."""

    colour: str
    marker: str
    dash: Dash


# The style of a method, by a word of its label; the first that fits counts. Okabe and Ito's colours
# come first; marker and dash tell the methods apart without colour.
_METHODS = {
    r"DragDiffusion": Style("#332288", ">", "-."),
    r"[Ee]dit-friendly|EF\b": Style("#117733", "H", "-"),
    r"O-BELM": Style("#DDCC77", "8", "-."),
    r"Rex": Style("#BB5566", ".", "--"),
    r"RegionDrag": Style("#661100", "$R$", "-."),
    r"EDICT": Style("#009E73", "^", ":"),
    r"BDIA": Style("#CC79A7", "D", "-."),
    r"Cycle-SDE|Alg\. 5": Style("#882255", "p", "-."),
    r"PLMS": Style("#000000", "X", ":"),
    r"autoencoder|no edit": Style("#777777", "h", ":"),
    r"DPM-Solver\+\+|ODE-?2": Style("#56B4E9", "v", "--"),
    r"SDE-?2": Style("#E69F00", "P", "-"),
    r"SDE|DDPM|difference": Style("#D55E00", "s", "-"),
    r"ODE|DDIM": Style("#0072B2", "o", "--"),
}
_OTHERS = (Style("#999933", "<", "-"), Style("#AA4499", "*", ":"), Style("#44AA99", "d", "--"))
# Dotted first: solid and dashed tell SDE from ODE.
_DASHES: tuple[Dash, ...] = (":", "-.", "-", "--")
_SHADES = ((1.0, 0.35), (1.0, 0.6), (0.0, 0.45), (0.0, 0.7))  # towards white or black, how far


def style_of(label: str) -> Style | None:
    """The style of the method that the label names, in every figure the same; None if unknown."""
    found = (style for words, style in _METHODS.items() if re.search(rf"\b(?:{words})", label))
    return next(found, None)


def styles_of(labels: Iterable[str]) -> dict[str, Style]:
    """A style for each distinct label.

    Labels of one method, such as two gammas of BDIA, have its colour and marker, in other shades
    and dashes from the second on. Methods that are not known have styles of their own.
    """
    others = cycle(_OTHERS)
    found: dict[str, Style] = {}
    variants: dict[Style, int] = {}
    for label in dict.fromkeys(labels):
        style = style_of(label) or next(others)
        variants[style] = variants.get(style, -1) + 1
        found[label] = _variant(style, variants[style])
    return found


def _variant(style: Style, number: int) -> Style:
    """The style itself for number 0; then other shades, with each of the other dashes in turn."""
    if not number:
        return style
    dashes = [dash for dash in _DASHES if dash != style.dash]
    end, share = _SHADES[(number - 1) % len(_SHADES)]
    red, green, blue = (c + (end - c) * share for c in colors.to_rgb(style.colour))
    return replace(
        style, colour=colors.to_hex((red, green, blue)), dash=dashes[(number - 1) % len(dashes)]
    )


def arms(block: Block) -> list[Row]:
    """The rows of arms, without differences and published numbers."""
    return [row for row in block.rows if row.kind == "arm"]


def compared(block: Block) -> list[tuple[Row, Row, Row]]:
    """(difference, arm, the arm that it is compared with), where both arms are in the block.

    A difference rests on the runs of its two arms, its own first.
    """
    found = []
    for row in block.rows:
        runs = next((cell.runs for cell in row.cells if cell.runs), ())
        if row.kind == "difference" and runs:
            ends = (_made_of(block, run) for run in (runs[0], runs[-1]))
            found.append((row, *(arm for arm in ends if arm)))
    return [three for three in found if len(three) == 3]


def _made_of(block: Block, run: str) -> Row | None:
    """The arm that rests on a run."""
    return next((row for row in arms(block) if any(run in cell.runs for cell in row.cells)), None)


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


def wrapped(text: str, inches: float) -> str:
    """Text broken into lines of this width, with t_0 as a formula."""
    lines = textwrap.wrap(text, int(inches / _LETTER))
    return re.sub(r"\bt_0\b", "$t_0$", "\n".join(lines))


def write_title(figure: Figure, text: str) -> None:
    """Add a title above the panels; a long one is broken into lines."""
    lines = wrapped(text, figure.get_figwidth() / 1.4)
    figure.suptitle(lines, fontweight="bold")
    _grow(figure, 1 + lines.count("\n"))


def legend(figure: Figure, handles: Sequence[Artist], *, title: str) -> None:
    """Add a legend below the panels, in as many columns as fit, under a title."""
    width = figure.get_figwidth()
    words = wrapped(title, 0.95 * width)
    entry = 0.4 + _LETTER * max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), int(width / entry)))
    figure.legend(
        handles=_by_line(handles, columns),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        columnspacing=1,
        title=words,
    )
    _grow(figure, 1 + words.count("\n") + math.ceil(len(handles) / columns))


def _grow(figure: Figure, lines: int) -> None:
    """Make a figure taller by so many lines of text."""
    figure.set_figheight(figure.get_figheight() + lines * _LINE)


def _by_line(handles: Sequence[Artist], columns: int) -> list[Artist]:
    """Reordered so that matplotlib, which fills column after column, shows them line by line."""
    return list(chain.from_iterable(handles[i::columns] for i in range(columns)))


def caption(table: Table) -> str:
    """What the bars mean, and how many images a point stands for."""
    n = counts(table)
    images = f"n = {n[0]}" if len(n) == 1 else f"n = {n[0]} to {n[-1]}"
    return f"Bars: 95 % bootstrap interval; {images} images per point"
