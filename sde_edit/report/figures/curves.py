"""Draws metrics over the columns of a table, such as steps or t_0, with a panel per metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sde_edit.errors import UserError
from sde_edit.registry import names, plugin
from sde_edit.report.plot_style import (
    COLUMN,
    GREY,
    PAGE,
    RC,
    Style,
    arm_entry,
    arms,
    caption,
    compared,
    legend,
    mark_entry,
    measured_blocks,
    style_axes,
    styles_of,
    value_and_interval,
    wrapped,
    write_title,
)
from sde_edit.report.table import (
    Block,
    Cell,
    Row,
    Table,
    Verdict,
    arrow,
    hoist_counts,
    metric_label,
)

_AXES = {
    "steps": "sampling steps",
    "steps in all": "sampling steps in all",
    "NFE": "network evaluations (NFE)",
}
# Shift between the intervals of two arms: a ratio on a log axis, else a share of the axis's span.
_DODGE = {"log": 0.025, "linear": 0.006}
_MARKS: dict[Verdict, str] = {"better": "*", "worse": "X"}  # of decided differences
_HEIGHT = 1.25  # inches from panel to panel
Scale = Literal["log", "linear", "names"]


@plugin
@dataclass(frozen=True)
class Curves:
    """One curve per arm.

    metrics: in order; those that the table lacks are skipped. null: all of the table.
    units: metric -> unit, as {psnr: dB}.
    x: the label of the horizontal axis, in place of the setting's name.
    scale: of the horizontal axis; `names` sets columns that are no numbers side by side, with
    points that no line joins.
    across: the number of metrics side by side; one with one group is drawn in the width of a
    column, all others in that of a page.
    log: the metrics with a logarithmic axis.

    Bars are 95 % intervals and hollow points are partial runs. Where no arm is compared with more
    than one other, marks show pairs of points whose difference is decided, a star where the first
    arm is better and a cross where it is worse: grey if there is one such pair of arms, otherwise
    a line of marks for each, in the colour of its first arm.
    """

    metrics: list[str] | None = None
    units: dict[str, str] = field(default_factory=dict)
    x: str = ""
    scale: Scale = "log"
    across: Literal[1, 2, 3, 4] = 1
    log: list[str] = field(default_factory=list)

    @rc_context(RC)
    def draw(self, table: Table) -> Figure:
        """Draw the table.

        Raises UserError if it has nothing to draw, for an unknown metric, and for a column that is
        not a number, or a number on a log axis that is not positive.
        """
        table = hoist_counts(table)
        labels, scale = _labels(table), self.scale
        if by_name := scale == "names":
            table, scale = _numbered(table), "linear"
        blocks = self._blocks(table)
        ticks = {x: labels[int(x)] if by_name else f"{x:g}" for x in _numbers(table, scale)}
        styles = styles_of(row.label for block in blocks for row in arms(block))
        if by_name:
            styles = {label: replace(style, dash="") for label, style in styles.items()}
        groups = list(dict.fromkeys(column.group for column in table.columns))
        figure, panels = self._panels(len(blocks), len(groups))
        for block, line in zip(blocks, panels, strict=True):
            for group, axes in zip(groups, line, strict=True):
                _panel(axes, table, block, group, styles, scale)
                _axis(axes, ticks, scale)
                self._scale(axes, table, block)
            line[0].set_ylabel(wrapped(self._label(block), 0.8 * _HEIGHT))
        self._name_columns(table, groups, panels)
        figure.align_ylabels()
        write_title(figure, table.title)
        _legend(figure, table, blocks, styles)
        return figure

    def _name_columns(
        self, table: Table, groups: Sequence[str], panels: Sequence[Sequence[Axes]]
    ) -> None:
        """Name the groups above the highest panels, and what goes across below the lowest."""
        for line in panels[: self.across]:
            for group, axes in zip(groups, line, strict=True):
                axes.set_title(group)
        axis = table.corner.split(", ")[-1]
        room = _width(len(groups) * min(self.across, len(panels)))
        for axes in chain.from_iterable(panels[-self.across :]):
            axes.set_xlabel(wrapped(self.x or _AXES.get(axis, axis), 0.8 * room))
            axes.tick_params(labelbottom=True)

    def _panels(self, blocks: int, groups: int) -> tuple[Figure, list[list[Axes]]]:
        """The panels of each block, one per group."""
        across = min(self.across, blocks)
        lines, side_by_side = math.ceil(blocks / across), across * groups
        size = (side_by_side * _width(side_by_side), 0.4 + _HEIGHT * lines)
        figure = Figure(figsize=size, layout="constrained")
        figure.get_layout_engine().set(hspace=0.04, wspace=0.04)  # type: ignore[union-attr,call-arg]
        grid = figure.subplots(lines, side_by_side, squeeze=False, sharex=True).ravel()
        for axes in grid[blocks * groups :]:
            axes.remove()
        return figure, [list(grid[i * groups : (i + 1) * groups]) for i in range(blocks)]

    def _blocks(self, table: Table) -> list[Block]:
        known = measured_blocks(table)
        wanted = list(known) if self.metrics is None else self.metrics
        for name in [*wanted, *self.log]:
            if name not in known and name not in names("metric"):
                raise UserError(f"{table.name}: no metric {name!r} to draw. Known: {list(known)}")
        if found := [known[name] for name in wanted if name in known]:
            return found
        asked = f" of {', '.join(self.metrics)}" if self.metrics else ""
        raise UserError(f"{table.name}: no measured cell{asked} to draw. Known: {list(known)}")

    def _scale(self, axes: Axes, table: Table, block: Block) -> None:
        if block.title not in self.log:
            return
        values = [cell.value for row in arms(block) for cell in row.cells if cell.value is not None]
        if min(values) <= 0:
            raise UserError(
                f"{table.name}: figure.log: {block.title} has a value {min(values):g}: leave it out"
            )
        axes.set_yscale("log")

    def _label(self, block: Block) -> str:
        unit, name = self.units.get(block.title), metric_label(block.title)
        name = f"{name} [{unit}]" if unit else name
        return f"{name} {arrow(block.higher_is_better)}".rstrip()


def _width(side_by_side: int) -> float:
    """Inches from panel to panel."""
    return COLUMN if side_by_side == 1 else PAGE / side_by_side


def _labels(table: Table) -> list[str]:
    """The labels of the columns, those of several groups once."""
    return list(dict.fromkeys(column.label for column in table.columns))


def _numbered(table: Table) -> Table:
    """The table with the places of the columns' labels, from 0, in place of the labels."""
    labels = _labels(table)
    columns = (replace(c, label=str(labels.index(c.label))) for c in table.columns)
    return replace(table, columns=tuple(columns))


def _numbers(table: Table, scale: Scale) -> list[float]:
    """The values of the columns in ascending order."""
    found = set()
    for column in table.columns:
        try:
            found.add(float(column.label))
        except ValueError:
            raise UserError(
                f"{table.name}: figure: the column {column.label!r} is no number: no curve can be "
                "drawn over it; scale: names sets such columns side by side"
            ) from None
    if scale == "log" and min(found) <= 0:
        raise UserError(f"{table.name}: figure.scale=log: it has no {min(found):g}: use linear")
    return sorted(found)


def _starred(block: Block, styles: Mapping[str, Style]) -> list[tuple[Row, str]]:
    """The differences with the colour of their stars. None if an arm is compared with several: a
    star could not say which of them it means."""
    pairs = compared(block)
    labels = [arm.label for _, *both in pairs for arm in both]
    if len(set(labels)) < len(labels):
        return []
    colours = [styles[arm.label].colour for _, arm, _ in pairs]
    rows = [row for row, *_ in pairs]
    return list(zip(rows, colours if len(pairs) > 1 else [GREY], strict=True)) if pairs else []


def _at(table: Table, row: Row, group: str) -> list[tuple[float, Cell]]:
    """(column as a number, cell) of the measured cells of a group."""
    return [
        (float(column.label), cell)
        for column, cell in zip(table.columns, row.cells, strict=True)
        if column.group == group and cell.value is not None
    ]


def _panel(
    axes: Axes,
    table: Table,
    block: Block,
    group: str,
    styles: Mapping[str, Style],
    scale: Scale,
) -> None:
    rows, span = arms(block), np.ptp([float(column.label) for column in table.columns])
    for i, row in enumerate(rows):
        points, place = _at(table, row, group), 2 * i - len(rows) + 1
        factor, shift = {
            "log": ((1 + _DODGE["log"]) ** place, 0.0),
            "linear": (1.0, _DODGE["linear"] * place * span),
        }[scale]
        x = [at * factor + shift for at, _ in points]
        _curve(axes, x, [cell for _, cell in points], styles[row.label])
    for line, (row, colour) in enumerate(_starred(block, styles)):
        _stars(axes, _at(table, row, group), 0.95 - 0.08 * line, colour)


def _curve(axes: Axes, x: Sequence[float], cells: Sequence[Cell], style: Style) -> None:
    y, low, high = np.array([value_and_interval(cell) for cell in cells]).reshape(-1, 3).T
    # The bounds of equal values differ from them by rounding.
    arms = np.clip([y - low, high - y], 0, None)
    axes.errorbar(x, y, arms, color=style.colour, ls=style.dash, capsize=2)
    for at, value, cell in zip(x, y, cells, strict=True):
        face = "white" if cell.partial else style.colour
        axes.plot(at, value, style.marker, mec=style.colour, mfc=face, zorder=3)


def _stars(axes: Axes, points: Sequence[tuple[float, Cell]], height: float, colour: str) -> None:
    for x, cell in points:
        if mark := _MARKS.get(cell.verdict):
            axes.plot(x, height, mark, color=colour, transform=axes.get_xaxis_transform())


def _axis(axes: Axes, ticks: Mapping[float, str], scale: Scale) -> None:
    axes.set_xscale(scale)
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xticks([], minor=True)
    axes.margins(x=0.12, y=0.2)
    style_axes(axes, "y")


def _legend(
    figure: Figure, table: Table, blocks: Sequence[Block], styles: Mapping[str, Style]
) -> None:
    handles = [arm_entry(style, label) for label, style in styles.items()]
    cells = [cell for block in blocks for row in block.rows for cell in row.cells]
    starred = [pair for block in blocks for pair in _starred(block, styles)]
    judged = any(cell.pointwise for row, _ in starred for cell in row.cells)
    for verdict, mark in _MARKS.items():
        decided = {c for row, c in starred if any(x.verdict == verdict for x in row.cells)}
        if decided:
            words = verdict + (" over the family" if judged else ": paired difference excludes 0")
            words += "; colour: of which pair" if decided != {GREY} else ""
            handles.append(mark_entry(mark, GREY, words))
    if any(cell.partial for cell in cells):
        handles.append(mark_entry("o", "white", "hollow: partial run"))
    legend(figure, handles, title=f"{caption(table)}; arrows point to what is better")
