"""One metric against another."""

from __future__ import annotations

import dataclasses

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sde_edit.commands.table import build_figure
from sde_edit.errors import UserError
from sde_edit.report.plot_style import GREY, styles_of
from sde_edit.report.table import Block, Cell, Column, Row, Table, published_title

T_0 = ("0.3", "0.4", "0.5", "0.6", "0.7", "0.8")


PAPER = {
    "fid": {
        "DiffEdit-SDE": (7.20, 7.29, 7.57, 7.97, 8.65, 9.25),
        "DiffEdit-ODE": (7.67, 8.24, 9.42, 11.27, 13.51, 15.91),
    },
    "clip": {
        "DiffEdit-SDE": (0.219, 0.224, 0.228, 0.230, 0.232, 0.232),
        "DiffEdit-ODE": (0.215, 0.215, 0.215, 0.214, 0.212, 0.210),
    },
    "lpips": {
        "DiffEdit-SDE": (0.171, 0.181, 0.195, 0.209, 0.219, 0.227),
        "DiffEdit-ODE": (0.173, 0.184, 0.199, 0.214, 0.228, 0.240),
    },
}


CHOICE = {"x": ["fid", "shapes_fid"], "y": ["shapes_clip", ["lpips", "shapes_source_lpips"]]}


def measured_block(title: str, paper: str, *, higher: bool = False) -> Block:
    """Twice the paper's numbers, with an interval; the second arm lacks the last column."""
    rows = tuple(
        Row(label, "arm", tuple(Cell(2 * v, 1.9 * v, 2.2 * v, 64, 64, ("r",)) for v in values))
        for label, values in PAPER[paper].items()
    )
    short = Row(rows[1].label, "arm", (*rows[1].cells[:-1], Cell()))
    return Block(title, (rows[0], short), higher)


def tradeoff_table(published: tuple[str, ...] = ("fid", "clip", "lpips")) -> Table:
    ours = (
        measured_block("shapes_fid", "fid"),
        measured_block("shapes_clip", "clip", higher=True),
        measured_block("shapes_source_lpips", "lpips"),
    )
    theirs = (
        Block(
            published_title(metric),
            tuple(
                Row(f"Paper {a}", "paper", tuple(map(Cell, v))) for a, v in PAPER[metric].items()
            ),
            metric == "clip",
        )
        for metric, lines in PAPER.items()
        if metric in published
    )
    columns = tuple(Column("", t) for t in T_0)
    return Table("table8", "Table 8", "t_0", columns, (*ours, *theirs))


def tradeoff(table: Table, **settings: object) -> Figure:
    asked = {"kind": "tradeoff", "name": "figure2", **CHOICE, **settings}
    figure = build_figure({"figure": asked}, table)
    assert figure is not None
    return figure


def markers(axes: Axes, colour: str) -> list[tuple[float, float]]:
    """The points of an arm, in order."""
    found = [line for line in axes.lines if line.get_markeredgecolor() == colour]
    return [
        (line.get_xdata()[0], line.get_ydata()[0]) for line in found if len(line.get_xdata()) == 1
    ]


def test_tradeoff_has_a_panel_per_metric_for_ours_and_for_the_papers() -> None:
    figure = tradeoff(tradeoff_table())
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes] == [
        ("shapes FID   ← better", "shapes CLIP   better →"),
        ("shapes FID   ← better", "shapes source LPIPS   ← better"),
        ("FID   ← better", "CLIP   better →"),
        ("FID   ← better", "LPIPS   ← better"),
    ]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["Measured here", "", "Published: another experiment", ""]


def test_tradeoff_points_are_the_cells_and_name_their_column() -> None:
    axes = tradeoff(tradeoff_table()).axes
    blue, vermillion = styles_of(["ODE", "SDE"]).values()
    sde = list(zip(PAPER["fid"]["DiffEdit-SDE"], PAPER["clip"]["DiffEdit-SDE"], strict=True))
    assert markers(axes[2], vermillion.colour) == sde
    assert markers(axes[0], vermillion.colour) == [(2 * x, 2 * y) for x, y in sde]
    assert len(markers(axes[0], blue.colour)) == 5  # the missing cell is no point
    assert [text.get_text() for text in axes[2].texts] == [*T_0, *T_0]
    bars = [segment for c in axes[0].collections for segment in c.get_segments()]
    assert len(bars) == 2 * (6 + 5)
    assert bars[0][:, 0].tolist() == pytest.approx([1.9 * 7.20, 2.2 * 7.20])


def test_tradeoff_links_the_columns_that_both_arms_have() -> None:
    axes = tradeoff(tradeoff_table()).axes[0]
    links = [line for line in axes.lines if line.get_color() == GREY]
    assert [len(line.get_xdata()) for line in links] == [2, 2, 2, 2, 2]


def test_tradeoff_shows_published_numbers_only_where_both_are() -> None:
    assert len(tradeoff(tradeoff_table(())).axes) == 2
    figure = tradeoff(tradeoff_table(("fid", "lpips")))
    assert [axes.axison for axes in figure.axes] == [True, True, False, True]


def test_tradeoff_of_metrics_that_no_column_shares_has_an_empty_panel() -> None:
    table = tradeoff_table(())
    alone = Row("DiffEdit-SDE", "arm", (Cell(1.0, n=4), *[Cell()] * 5))
    other = Row("DiffEdit-SDE", "arm", (*[Cell()] * 5, Cell(1.0, n=4)))
    table = dataclasses.replace(table, blocks=(Block("a", (alone,)), Block("b", (other,))))
    (axes,) = tradeoff(table, x="a", y=["b"]).axes
    assert not axes.lines


def test_tradeoff_refuses_metrics_that_are_not_there() -> None:
    with pytest.raises(UserError, match=r"no metric 'ssim' or 'psnr' to draw\. Known: .*_fid"):
        tradeoff(tradeoff_table(), x=["ssim", "psnr"])
    with pytest.raises(UserError, match="no metric 'ssim' to draw"):
        tradeoff(tradeoff_table(), y=["ssim"])
    with pytest.raises(UserError, match="names no metric"):
        tradeoff(tradeoff_table(), y=[])


def test_links_join_the_arms_that_are_compared() -> None:
    """Two pairs of arms: a link from one pair to the other would compare what differs in more."""
    labels = ("DiffEdit-ODE", "DiffEdit-SDE", "DiffEdit-ODE at 7.5", "DiffEdit-SDE at 7.5")

    def block(title: str, scale: float, *pairs: tuple[str, str]) -> Block:
        rows = (
            Row(label, "arm", tuple(Cell(scale * (i + j), n=8, runs=(label,)) for j in range(6)))
            for i, label in enumerate(labels)
        )
        differences = (Row("d", "difference", (Cell(1.0, runs=pair),) * 6) for pair in pairs)
        return Block(title, (*rows, *differences), True)

    def links(*pairs: tuple[str, str]) -> set[int]:
        """How many points the links of the panel join."""
        blocks = (block("psnr", 1.0, *pairs), block("ssim", 0.1, *pairs))
        table = Table("t", "T", "t_0", tuple(Column("", t) for t in T_0), blocks)
        (axes,) = tradeoff(table, x="psnr", y=["ssim"]).axes
        return {len(line.get_xdata()) for line in axes.lines if line.get_color() == GREY}

    assert links() == {4}
    assert links((labels[1], labels[0]), (labels[3], labels[2])) == {2}
    assert links((labels[1], labels[0]), (labels[2], labels[0]), (labels[3], labels[0])) == {4}
