"""Metric against steps (or what else goes across) for the arms of a table, a panel per metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sde_edit.registry import plugin
from sde_edit.report import Block, Cell, Row, Table, arrow, counts
from sde_edit.types import UserError


@dataclass(frozen=True)
class _Style:
    colour: str
    marker: str
    dash: Literal["-", "--", ":", "-."]


# Okabe and Ito's blue and vermillion first; marker and dash tell the arms apart without colour.
_STYLES = (
    _Style("#0072B2", "o", "--"),
    _Style("#D55E00", "s", "-"),
    _Style("#009E73", "^", ":"),
    _Style("#CC79A7", "D", "-."),
    _Style("#E69F00", "v", "--"),
    _Style("#56B4E9", "P", "-"),
    _Style("#000000", "X", ":"),
)
_AXES = {"steps": "sampling steps", "NFE": "network evaluations (NFE)"}
_DODGE = 0.025  # relative, so that the arms' intervals stand side by side on the log axis
_GREY = "#555555"


@plugin
@dataclass(frozen=True)
class Steps:
    """metrics: null is all of the table. units: metric -> unit, as {psnr: dB}.

    Bars are 95 % intervals; hollow points are partial runs; with two arms a star stands over a pair
    of points whose paired difference excludes 0.
    """

    metrics: list[str] | None = None
    units: dict[str, str] = field(default_factory=dict)

    def draw(self, table: Table) -> Figure:
        """Raises UserError if the table lacks a metric or has nothing to draw."""
        blocks = self._blocks(table)
        labels = dict.fromkeys(row.label for block in blocks for row in _arms(block))
        styles = dict(zip(labels, cycle(_STYLES), strict=False))
        groups = list(dict.fromkeys(column.group for column in table.columns))
        height = 1.1 + 1.95 * len(blocks)
        figure = Figure(figsize=(0.9 + max(3.5 * len(groups), 4.5), height), layout="constrained")
        figure.get_layout_engine().set(hspace=0.04, wspace=0.04)  # type: ignore[union-attr,call-arg]
        grid = figure.subplots(len(blocks), len(groups), squeeze=False, sharex=True)
        for block, line in zip(blocks, grid, strict=True):
            for group, axes in zip(groups, line, strict=True):
                _panel(axes, table, block, group, styles)
            line[0].set_ylabel(self._label(block))
        for group, top, bottom in zip(groups, grid[0], grid[-1], strict=True):
            top.set_title(group, fontsize=11)
            bottom.set_xlabel(_AXES.get(axis := table.corner.split(", ")[-1], axis))
        figure.suptitle(table.title, fontsize=12, fontweight="bold")
        _legend(figure, table, blocks, styles)
        return figure

    def _blocks(self, table: Table) -> list[Block]:
        known = {b.title: b for b in table.blocks if any(map(_drawable, _arms(b)))}
        names = list(known) if self.metrics is None else self.metrics
        if not names:
            raise UserError(f"{table.name}: no measured cell to draw")
        for name in names:
            if name not in known:
                raise UserError(f"{table.name}: no metric {name!r} to draw. Known: {list(known)}")
        return [known[name] for name in names]

    def _label(self, block: Block) -> str:
        unit = self.units.get(block.title)
        name = f"{block.title} [{unit}]" if unit else block.title
        direction = {True: "higher is better", False: "lower is better", None: ""}
        return f"{name}\n{arrow(block.higher_is_better)} {direction[block.higher_is_better]}"


def _arms(block: Block) -> list[Row]:
    return [row for row in block.rows if row.kind == "arm"]


def _compared(block: Block) -> list[Row]:
    """The row of differences, where there is but one: a star would not say which of several."""
    rows = [row for row in block.rows if row.kind == "difference"]
    return rows if len(rows) == 1 else []


def _drawable(row: Row) -> bool:
    return any(cell.value is not None for cell in row.cells)


def _at(table: Table, row: Row, group: str) -> list[tuple[float, Cell]]:
    """(steps, cell) of the measured cells of a group."""
    return [
        (float(column.label), cell)
        for column, cell in zip(table.columns, row.cells, strict=True)
        if column.group == group and cell.value is not None
    ]


def _panel(
    axes: Axes, table: Table, block: Block, group: str, styles: Mapping[str, _Style]
) -> None:
    arms = _arms(block)
    for i, row in enumerate(arms):
        shift = (1 + _DODGE) ** (2 * i - len(arms) + 1)
        _curve(axes, _at(table, row, group), styles[row.label], shift)
    for row in _compared(block):
        _stars(axes, _at(table, row, group))
    _dress(axes, [float(column.label) for column in table.columns])


def _curve(axes: Axes, points: Sequence[tuple[float, Cell]], style: _Style, shift: float) -> None:
    x = [steps * shift for steps, _ in points]
    y, low, high = np.array([_reach(cell) for _, cell in points]).reshape(-1, 3).T
    axes.errorbar(x, y, [y - low, high - y], color=style.colour, ls=style.dash, lw=1.4, capsize=3)
    for at, value, (_, cell) in zip(x, y, points, strict=True):
        face = "white" if cell.partial else style.colour
        axes.plot(at, value, style.marker, ms=6, mec=style.colour, mfc=face, zorder=3)


def _reach(cell: Cell) -> tuple[float, float, float]:
    """Value and interval; a cell without interval gets one of no length."""
    assert cell.value is not None
    low = cell.value if cell.low is None else cell.low
    high = cell.value if cell.high is None else cell.high
    return cell.value, low, high


def _stars(axes: Axes, points: Sequence[tuple[float, Cell]]) -> None:
    for steps, cell in points:
        if cell.verdict in ("better", "worse"):
            axes.plot(
                steps, 0.95, "*", color=_GREY, markersize=8, transform=axes.get_xaxis_transform()
            )


def _dress(axes: Axes, steps: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(sorted(set(steps)), [f"{s:g}" for s in sorted(set(steps))])
    axes.set_xticks([], minor=True)
    axes.margins(x=0.12, y=0.2)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(
    figure: Figure, table: Table, blocks: Sequence[Block], styles: Mapping[str, _Style]
) -> None:
    handles = [
        Line2D([], [], color=style.colour, marker=style.marker, linestyle=style.dash, label=label)
        for label, style in styles.items()
    ]
    cells = [cell for block in blocks for row in block.rows for cell in row.cells]
    starred = [cell for block in blocks for row in _compared(block) for cell in row.cells]
    if any(cell.verdict in ("better", "worse") for cell in starred):
        handles.append(_mark("*", _GREY, "paired difference excludes 0"))
    if any(cell.partial for cell in cells):
        handles.append(_mark("o", "white", "hollow: partial run"))
    groups = len({column.group for column in table.columns})
    columns = min(len(handles), 2 * max(groups, 1))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False,
                  title=_caption(table), title_fontsize=9, fontsize=9)  # fmt: skip


def _mark(marker: str, face: str, label: str) -> Line2D:
    return Line2D(
        [], [], color=_GREY, marker=marker, markerfacecolor=face, linestyle="", label=label
    )


def _caption(table: Table) -> str:
    n = counts(table)
    images = f"n = {n[0]}" if len(n) == 1 else f"n = {n[0]} to {n[-1]}"
    return f"Bars: 95 % bootstrap interval; {images} images per point"
