"""Draws one metric against another, with a line per arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from sde_edit.errors import UserError
from sde_edit.registry import plugin
from sde_edit.report.labels import offsets
from sde_edit.report.plot_style import (
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
    hoist_counts,
    metric_label,
    published_title,
)

_LETTERS = 6.5  # the size of the labels of points
_HALO = withStroke(linewidth=2, foreground="white")
_TITLES = ("Measured here", "Published: another experiment")
_Pair = tuple[Block, ...]  # x and y of a panel; () for an empty panel


class _Point(NamedTuple):
    column: str
    x: Cell
    y: Cell


@plugin
@dataclass(frozen=True)
class Tradeoff:
    """A line per arm through its points at all columns of the table.

    x: a metric.
    y: metrics, with a panel for each.
    arms: labels of the arms to draw; empty: all.

    A list in place of a metric means the first that the table has, as [fid, shapes_fid].

    Each point is labelled with its column, and thin dashes link the arms of a column, those that
    the table compares if it compares any. Bars are 95 % intervals and hollow points are partial
    runs. Published numbers of the same metrics, matched by the last word of the name (`fid` for
    shapes_fid), get panels of their own below.
    """

    x: str | list[str]
    y: list[str | list[str]]
    arms: tuple[str, ...] = ()

    @rc_context(RC)
    def draw(self, table: Table) -> Figure:
        """Draw the table. Raises UserError if it lacks a metric, or if no y is given."""
        table = self._of_arms(hoist_counts(table))
        lines = self._lines(table)
        pairs = [pair for line in lines for pair in line]
        styles = styles_of(arm for pair in pairs for block in pair for arm in _rows(block))
        figure = Figure(figsize=(PAGE, 0.2 + 2.6 * len(lines)), layout="constrained")
        figure.get_layout_engine().set(hspace=0.06, wspace=0.04)  # type: ignore[union-attr,call-arg]
        grid = figure.subplots(len(lines), len(self.y), squeeze=False)
        panels = [_curves(table, *pair) if pair else {} for pair in pairs]
        for axes, pair, curves in zip(grid.flat, pairs, panels, strict=True):
            _panel(axes, pair, curves, styles)
        for title, (first, *_) in zip(_TITLES, grid, strict=False):
            first.set_title(title, loc="left")
        write_title(figure, table.title)
        _legend(figure, table, pairs, styles)
        figure.draw_without_rendering()  # the labels need the panels' final places
        for axes, curves in zip(grid.flat, panels, strict=True):
            _label_points(axes, curves, styles)
        return figure

    def _of_arms(self, table: Table) -> Table:
        """The table without the arms that are not drawn."""
        known = [row.label for row in arms(table.blocks[0])]
        if unknown := [arm for arm in self.arms if arm not in known]:
            raise UserError(f"{table.name}: figure.arms has {unknown[0]!r}, no arm. Known: {known}")
        others = {arm for arm in known if self.arms and arm not in self.arms}
        blocks = (
            replace(b, rows=tuple(row for row in b.rows if row.label not in others))
            for b in table.blocks
        )
        return replace(table, blocks=tuple(blocks))

    def _lines(self, table: Table) -> list[list[_Pair]]:
        """The panels, line by line: ours, then the paper's if there are any."""
        if not self.y:
            raise UserError(f"{table.name}: figure.y names no metric")
        x = _chosen(table, self.x)
        ours: list[_Pair] = [(x, _chosen(table, y)) for y in self.y]
        published = [_published(table, pair) for pair in ours]
        return [ours, published] if any(published) else [ours]


def _chosen(table: Table, names: str | list[str]) -> Block:
    known = measured_blocks(table)
    wanted = [names] if isinstance(names, str) else names
    for name in wanted:
        if name in known:
            return known[name]
    raise UserError(
        f"{table.name}: no metric {' or '.join(map(repr, wanted))} to draw. Known: {list(known)}"
    )


def _published(table: Table, pair: _Pair) -> _Pair:
    """The blocks of published numbers for the last words of the metrics; () unless both exist."""
    titles = [published_title(block.title.rpartition("_")[2]) for block in pair]
    found = {block.title: block for block in table.blocks}
    return tuple(found[title] for title in titles) if found.keys() >= set(titles) else ()


def _panel(
    axes: Axes, pair: _Pair, curves: Mapping[str, Sequence[_Point]], styles: Mapping[str, Style]
) -> None:
    if not pair:
        axes.set_axis_off()
        return
    x, y = pair
    for label, points in curves.items():
        _curve(axes, points, styles[label])
    for group in _linked(y, curves):
        _links(axes, group)
    axes.set_xlabel(_label(x))
    axes.set_ylabel(_label(y))
    axes.margins(0.1)
    style_axes(axes, "both")


def _curves(table: Table, x: Block, y: Block) -> dict[str, list[_Point]]:
    """Arm -> its points, one for each column in which it has both numbers."""
    across, up = _rows(x), _rows(y)
    curves = {
        label: [
            _Point(column.heading, *cells)
            for column, *cells in zip(
                table.columns, across[label].cells, up[label].cells, strict=True
            )
            if all(cell.value is not None for cell in cells)
        ]
        for label in across
        if label in up
    }
    return {label: points for label, points in curves.items() if points}


def _linked(block: Block, curves: Mapping[str, Sequence[_Point]]) -> list[list[Sequence[_Point]]]:
    """The curves in groups: each with those that are compared with it; all, without comparisons."""
    pairs = {arm.label: base.label for _, arm, base in compared(block)}
    if not pairs:
        return [list(curves.values())]
    groups: dict[str, list[Sequence[_Point]]] = {}
    for label, points in curves.items():
        groups.setdefault(pairs.get(label, label), []).append(points)
    return list(groups.values())


def _rows(block: Block) -> dict[str, Row]:
    """Arm -> its row. In a block of published numbers, the arm is what follows "Paper "."""
    return {row.label.removeprefix("Paper "): row for row in arms(block) or block.rows}


def _label_points(
    axes: Axes, curves: Mapping[str, Sequence[_Point]], styles: Mapping[str, Style]
) -> None:
    """Write the column beside each point; a thin line leads to a label that is farther away."""
    named = [(point, styles[arm]) for arm, points in curves.items() for point in points]
    if not named:
        return
    places = [_on_paper(axes, points) for points in curves.values()]
    texts = [point.column for point, _ in named]
    sizes = np.array([(0.65 * _LETTERS * len(text), _LETTERS) for text in texts])
    found = offsets(np.concatenate(places), sizes, np.concatenate([*map(_between, places)]))
    for (point, style), offset in zip(named, found, strict=True):
        text = axes.annotate(
            point.column, _place(point), tuple(offset), textcoords="offset points", zorder=4,
            fontsize=_LETTERS, color=style.colour, ha="center", va="center", path_effects=[_HALO],
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": style.colour, "shrinkB": 2},
        )  # fmt: skip
        text.set_in_layout(False)


def _on_paper(axes: Axes, points: Sequence[_Point]) -> NDArray[np.float64]:
    """The places of points, [N, 2] in typographic points."""
    pixels = axes.transData.transform([_place(point) for point in points])
    placed: NDArray[np.float64] = pixels * 72 / axes.figure.dpi
    return placed


def _between(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places along a curve."""
    shares = np.linspace(0, 1, 20)[:, None, None]
    along: NDArray[np.float64] = (1 - shares) * places[:-1] + shares * places[1:]
    return along.reshape(-1, 2)


def _place(point: _Point) -> tuple[float, float]:
    return value_and_interval(point.x)[0], value_and_interval(point.y)[0]


def _curve(axes: Axes, points: Sequence[_Point], style: Style) -> None:
    x, x_low, x_high = np.array([value_and_interval(point.x) for point in points]).T
    y, y_low, y_high = np.array([value_and_interval(point.y) for point in points]).T
    axes.plot(x, y, style.dash, color=style.colour)
    axes.hlines(y, x_low, x_high, style.colour, lw=0.5, alpha=0.5)
    axes.vlines(x, y_low, y_high, style.colour, lw=0.5, alpha=0.5)
    for at, up, point in zip(x, y, points, strict=True):
        face = "white" if point.x.partial or point.y.partial else style.colour
        axes.plot(at, up, style.marker, mec=style.colour, mfc=face, zorder=3)


def _links(axes: Axes, curves: Sequence[Sequence[_Point]]) -> None:
    for column in dict.fromkeys(point.column for points in curves for point in points):
        linked = [point for points in curves for point in points if point.column == column]
        if len(linked) > 1:
            x, y = zip(*map(_place, linked), strict=True)
            axes.add_line(_link(x, y))


def _link(x: Sequence[float], y: Sequence[float], label: str = "") -> Line2D:
    return Line2D(x, y, color=GREY, lw=0.6, ls=(0, (4, 3)), alpha=0.6, zorder=1, label=label)


def _label(block: Block) -> str:
    """The metric, with an arrow towards better values; y labels are read from bottom to top."""
    name = metric_label(block.title.removeprefix("Published ").partition(",")[0])
    better = {True: "   better →", False: "   ← better", None: ""}
    return f"{name}{better[block.higher_is_better]}"


def _legend(
    figure: Figure, table: Table, pairs: Sequence[_Pair], styles: Mapping[str, Style]
) -> None:
    handles = [arm_entry(style, label) for label, style in styles.items()]
    handles.append(_link([], [], wrapped(f"same {table.corner}", PAGE)))
    blocks = [block for pair in pairs for block in pair]
    if any(cell.partial for block in blocks for row in arms(block) for cell in row.cells):
        handles.append(mark_entry("o", "white", "hollow: partial run"))
    title = f"At the points: {table.corner}. {caption(table)}"
    legend(figure, handles, title=title)
