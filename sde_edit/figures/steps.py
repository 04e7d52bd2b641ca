"""Metric against steps (or what else goes across) for the arms of a table, a panel per metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sde_edit.drawing import (
    GREY,
    Style,
    arms,
    caption,
    dress,
    key,
    legend,
    mark,
    measured_blocks,
    reach,
    styles_of,
)
from sde_edit.registry import plugin
from sde_edit.report import Block, Cell, Row, Table, arrow
from sde_edit.types import UserError

_AXES = {"steps": "sampling steps", "NFE": "network evaluations (NFE)"}
_DODGE = 0.025  # relative, so that the arms' intervals stand side by side on the log axis


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
        styles = styles_of(row.label for block in blocks for row in arms(block))
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
        known = measured_blocks(table)
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


def _compared(block: Block) -> list[Row]:
    """The row of differences, where there is but one: a star would not say which of several."""
    rows = [row for row in block.rows if row.kind == "difference"]
    return rows if len(rows) == 1 else []


def _at(table: Table, row: Row, group: str) -> list[tuple[float, Cell]]:
    """(steps, cell) of the measured cells of a group."""
    return [
        (float(column.label), cell)
        for column, cell in zip(table.columns, row.cells, strict=True)
        if column.group == group and cell.value is not None
    ]


def _panel(axes: Axes, table: Table, block: Block, group: str, styles: Mapping[str, Style]) -> None:
    rows = arms(block)
    for i, row in enumerate(rows):
        shift = (1 + _DODGE) ** (2 * i - len(rows) + 1)
        _curve(axes, _at(table, row, group), styles[row.label], shift)
    for row in _compared(block):
        _stars(axes, _at(table, row, group))
    _steps_axis(axes, [float(column.label) for column in table.columns])


def _curve(axes: Axes, points: Sequence[tuple[float, Cell]], style: Style, shift: float) -> None:
    x = [steps * shift for steps, _ in points]
    y, low, high = np.array([reach(cell) for _, cell in points]).reshape(-1, 3).T
    axes.errorbar(x, y, [y - low, high - y], color=style.colour, ls=style.dash, lw=1.4, capsize=3)
    for at, value, (_, cell) in zip(x, y, points, strict=True):
        face = "white" if cell.partial else style.colour
        axes.plot(at, value, style.marker, ms=6, mec=style.colour, mfc=face, zorder=3)


def _stars(axes: Axes, points: Sequence[tuple[float, Cell]]) -> None:
    for steps, cell in points:
        if cell.verdict in ("better", "worse"):
            axes.plot(
                steps, 0.95, "*", color=GREY, markersize=8, transform=axes.get_xaxis_transform()
            )


def _steps_axis(axes: Axes, steps: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(sorted(set(steps)), [f"{s:g}" for s in sorted(set(steps))])
    axes.set_xticks([], minor=True)
    axes.margins(x=0.12, y=0.2)
    dress(axes, "y")


def _legend(
    figure: Figure, table: Table, blocks: Sequence[Block], styles: Mapping[str, Style]
) -> None:
    handles = [key(style, label) for label, style in styles.items()]
    cells = [cell for block in blocks for row in block.rows for cell in row.cells]
    starred = [cell for block in blocks for row in _compared(block) for cell in row.cells]
    if any(cell.verdict in ("better", "worse") for cell in starred):
        handles.append(mark("*", GREY, "paired difference excludes 0"))
    if any(cell.partial for cell in cells):
        handles.append(mark("o", "white", "hollow: partial run"))
    groups = len({column.group for column in table.columns})
    columns = min(len(handles), 2 * max(groups, 1))
    legend(figure, handles, ncols=columns, title=caption(table))
