"""Figures drawn from tables."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

import sde_edit.report.formats as formats_module
import sde_edit.report.plot_style as plot_style_module
import sde_edit.report.table as table_module
from sde_edit import registry
from sde_edit.commands.table import build_figure
from sde_edit.errors import UserError
from sde_edit.report.table import Block, Cell, Column, Row, Table

STEPS = (25, 50, 100)
COLUMNS = tuple(Column(f"{masks} masks", str(s)) for masks in ("small", "large") for s in STEPS)


def arm(label: str, start: float, n: int = 256) -> Row:
    values = [start - i for i in range(6)]
    cells = (Cell(v, v - 0.7, v + 0.6, n, 256, ("run",)) for v in values)
    return Row(label, "arm", tuple(cells))


def example(n: int = 256) -> Table:
    verdicts = ("better", "undecided", "worse", "better", "better", "")
    difference = Row("SDE − ODE", "difference", tuple(Cell(1.0, verdict=v) for v in verdicts))
    rows = (arm("Inpaint-ODE", 10.0), arm("Inpaint-SDE", 9.0, n), difference)
    blocks = (
        Block("shapes_fid", rows, higher_is_better=False),
        Block("psnr", rows, higher_is_better=True),
        Block("Published FID", (Row("Paper", "paper", (Cell(1.0),) * 6),), higher_is_better=False),
        Block("empty", (Row("Inpaint-ODE", "arm", (Cell(),) * 6),)),
    )
    return Table("table2", "Table 2", "masks, steps", COLUMNS, blocks)


def draw(table: Table, **settings: object) -> Figure:
    figure = build_figure({"figure": {"kind": "curves", **settings}}, table)
    assert figure is not None
    return figure


def test_one_panel_per_measured_metric_and_mask_size() -> None:
    figure = draw(example(), units={"psnr": "dB"})
    assert len(figure.axes) == 4
    assert [axes.get_title() for axes in figure.axes[:2]] == ["small masks", "large masks"]
    labels = [axes.get_ylabel() for axes in figure.axes[::2]]
    assert labels == ["shapes_fid\n↓ lower is better", "psnr [dB]\n↑ higher is better"]
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == ["25", "50", "100"]


def test_points_and_bars_are_the_cells() -> None:
    axes = draw(example()).axes[0]
    bars = list(axes.containers)
    line, _, (collection,) = bars[0]
    assert list(line.get_ydata()) == [10.0, 9.0, 8.0]
    segments = [(s[0][1], s[1][1]) for s in collection.get_segments()]
    assert segments[0] == pytest.approx((9.3, 10.6))


def test_decided_differences_and_partial_runs_are_marked() -> None:
    figure = draw(example(n=64))
    stars = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert [line.get_xdata()[0] for line in stars] == [25, 100]
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 3
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "hollow: partial run" in texts
    assert "paired difference excludes 0" in texts


def test_metrics_can_be_chosen_and_unknown_ones_are_refused() -> None:
    assert len(draw(example(), metrics=["psnr"]).axes) == 2
    with pytest.raises(UserError, match="no metric 'pnsr' to draw"):
        draw(example(), metrics=["psnr", "pnsr"])
    with pytest.raises(UserError, match="no metric 'empty' to draw"):
        draw(example(), metrics=["empty"])


def test_metrics_that_the_runs_lack_are_left_out_unless_it_is_all() -> None:
    figure = draw(example(), metrics=["ssim", "psnr"])
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["psnr\n↑ higher is better"]
    with pytest.raises(UserError, match=r"no measured cell of ssim, kid to draw\. Known: .*'psnr'"):
        draw(example(), metrics=["ssim", "kid"])


def over(labels: Sequence[str], metrics: int = 1) -> Table:
    """A table of two arms over the values of a setting."""
    rows = tuple(
        Row(
            label,
            "arm",
            tuple(Cell(float(i), i - 0.5, i + 0.5, 8, 8) for i, _ in enumerate(labels)),
        )
        for label in ("Drag-SDE", "Drag-ODE")
    )
    blocks = tuple(Block(f"m{i}", rows, True) for i in range(metrics))
    return Table("t", "T", "beta", tuple(Column("", label) for label in labels), blocks)


def test_a_setting_that_may_be_zero_is_drawn_on_a_linear_axis() -> None:
    (axes,) = draw(over(["0.0", "0.5", "1.0"]), scale="linear", x="what is left").axes
    assert (axes.get_xscale(), axes.get_xlabel()) == ("linear", "what is left")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "0.5", "1"]
    left, right = (list(bars[0].get_xdata()) for bars in axes.containers)
    assert left == pytest.approx([-0.006, 0.494, 0.994])
    assert right == pytest.approx([0.006, 0.506, 1.006])
    with pytest.raises(UserError, match="scale=log: it has no 0: use linear"):
        draw(over(["0.0", "0.5"]))


def test_a_column_that_is_no_number_is_refused() -> None:
    with pytest.raises(UserError, match="the column 'null' is no number"):
        draw(over(["null", "2"]))


def test_panels_stand_side_by_side_and_the_lowest_have_the_words_below() -> None:
    figure = draw(over(["1", "2"], metrics=3), across=2)
    places = [axes.get_subplotspec().get_geometry()[2:] for axes in figure.axes]
    assert [place[0] for place in places] == [0, 1, 2]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "beta", "beta"]
    lowest = [axes.xaxis.get_tick_params()["labelbottom"] for axes in figure.axes]
    assert lowest == [False, True, True]


def test_a_table_without_figure_has_none() -> None:
    assert build_figure({"name": "t"}, example()) is None
    assert build_figure({"name": "t", "figure": None}, example()) is None


def test_files_are_the_same_each_time(tmp_path: Path) -> None:
    first = formats_module.write_figure(draw(example()), "table2", tmp_path / "a")
    second = formats_module.write_figure(draw(example()), "table2", tmp_path / "b")
    assert [path.name for path in first] == ["table2.png", "table2.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    with Image.open(first[0]) as image:
        assert image.width > 800


# ------------------------------------------------------------------ one metric against another

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
            table_module.published_title(metric),
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
        ("shapes_fid   ← better", "shapes_clip   better →"),
        ("shapes_fid   ← better", "shapes_source_lpips   ← better"),
        ("FID   ← better", "CLIP   better →"),
        ("FID   ← better", "LPIPS   ← better"),
    ]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["Measured here", "", "Published: another experiment", ""]


def test_tradeoff_points_are_the_cells_and_name_their_column() -> None:
    axes = tradeoff(tradeoff_table()).axes
    blue, vermillion = plot_style_module.styles_of("ab").values()
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
    links = [line for line in axes.lines if line.get_color() == plot_style_module.GREY]
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


def test_ode_and_sde_look_the_same_whichever_comes_first() -> None:
    first = plot_style_module.styles_of(["DiffEdit-SDE", "DiffEdit-ODE", "EDICT"])
    second = plot_style_module.styles_of(["DiffEdit-ODE", "DiffEdit-SDE", "EDICT"])
    assert first == second
    assert list(first) == ["DiffEdit-SDE", "DiffEdit-ODE", "EDICT"]


def test_a_figure_may_have_a_name_of_its_own() -> None:
    assert (
        table_module.figure_name({"figure": {"kind": "tradeoff", "name": "figure2"}}, "t")
        == "figure2"
    )
    assert table_module.figure_name({"figure": {"kind": "curves"}}, "t") == "t"
    assert table_module.figure_name({}, "t") == "t"


def test_presentation_imports_no_torch_and_no_pyplot() -> None:
    modules = [f"sde_edit.report.tables.{kind}" for kind in registry.kinds("tables")]
    modules += [f"sde_edit.report.figures.{kind}" for kind in registry.kinds("figures")]
    modules += [
        "sde_edit.report.table",
        "sde_edit.report.results",
        "sde_edit.report.summary",
        "sde_edit.report.contact_sheet",
    ]
    heavy = "{'torch', 'matplotlib.pyplot'}"
    code = f"import sys, {', '.join(modules)}\nassert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
