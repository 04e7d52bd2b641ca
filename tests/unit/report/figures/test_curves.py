"""Metrics over a setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from sde_edit.commands.table import build_figure
from sde_edit.errors import UserError
from sde_edit.report.formats import write_figure
from sde_edit.report.plot_style import styles_of
from sde_edit.report.table import Block, Cell, Column, Row, Table, Verdict

STEPS = (25, 50, 100)
COLUMNS = tuple(Column(f"{masks} masks", str(s)) for masks in ("small", "large") for s in STEPS)


def arm(label: str, start: float, n: int = 256) -> Row:
    values = [start - i for i in range(6)]
    cells = (Cell(v, v - 0.7, v + 0.6, n, 256, (label,)) for v in values)
    return Row(label, "arm", tuple(cells))


VERDICTS: tuple[Verdict, ...] = ("better", "undecided", "worse", "better", "better", "")


def difference(label: str, *arms: str, verdicts: Sequence[Verdict] = VERDICTS) -> Row:
    cells = (Cell(1.0, runs=arms, verdict=verdict) for verdict in verdicts)
    return Row(label, "difference", tuple(cells))


def example(n: int = 256) -> Table:
    pair = difference("SDE − ODE", "Inpaint-SDE", "Inpaint-ODE")
    rows = (arm("Inpaint-ODE", 10.0), arm("Inpaint-SDE", 9.0, n), pair)
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
    assert labels == ["shapes FID ↓", "PSNR [dB] ↑"]
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == ["25", "50", "100"]


def test_columns_that_are_no_numbers_stand_side_by_side_and_no_line_joins_them() -> None:
    kinds = ("none", "shape", "colour")
    columns = tuple(Column(group, kind) for group in ("small", "large") for kind in kinds)
    table = replace(example(), columns=columns)
    figure = draw(table, scale="names", metrics=["psnr"])
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == [*kinds]
    line, _, _ = figure.axes[0].containers[0]
    assert list(line.get_ydata()) == [10.0, 9.0, 8.0]
    assert list(line.get_xdata()) == pytest.approx([0, 1, 2], abs=0.05)
    assert line.get_linestyle() == "None"
    with pytest.raises(UserError, match="scale: names sets such columns side by side"):
        draw(table)


def test_points_and_bars_are_the_cells() -> None:
    axes = draw(example()).axes[0]
    bars = list(axes.containers)
    line, _, (collection,) = bars[0]
    assert list(line.get_ydata()) == [10.0, 9.0, 8.0]
    segments = [(s[0][1], s[1][1]) for s in collection.get_segments()]
    assert segments[0] == pytest.approx((9.3, 10.6))


def test_decided_differences_and_partial_runs_are_marked() -> None:
    figure = draw(example(n=64))
    assert [(at, marker) for at, marker, _ in marks_of(figure)] == [(25, "*"), (100, "X")]
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 3
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "hollow: partial run" in texts
    assert {f"{word}: paired difference excludes 0" for word in ("better", "worse")} <= {*texts}


def marks_of(figure: Figure) -> list[tuple[float, str, str]]:
    lines = [line for line in figure.axes[0].lines if line.get_marker() in ("*", "X")]
    return [(float(a.get_xdata()[0]), str(a.get_marker()), str(a.get_color())) for a in lines]


def test_two_pairs_have_stars_in_their_own_colours() -> None:
    """Each pair compares its own arms; of an arm with two comparisons no star could say which."""
    labels = ("Inpaint-ODE", "Inpaint-SDE", "Inpaint-ODE at 7.5", "Inpaint-SDE at 7.5")
    rows = tuple(arm(label, 10.0 - i) for i, label in enumerate(labels))
    first = difference("SDE − ODE", "Inpaint-SDE", "Inpaint-ODE")
    other = difference(
        "SDE at 7.5 − ODE at 7.5",
        *("Inpaint-SDE at 7.5", "Inpaint-ODE at 7.5"),
        verdicts=("undecided", "better", *VERDICTS[2:]),
    )
    table = Table("t", "T", "masks, steps", COLUMNS, (Block("psnr", (*rows, first, other), True),))
    colours = styles_of(labels)
    own, paler = colours["Inpaint-SDE"].colour, colours["Inpaint-SDE at 7.5"].colour
    figure = draw(table)
    assert marks_of(figure) == [
        *((25, "*", own), (100, "X", own)),
        *((50, "*", paler), (100, "X", paler)),
    ]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "worse: paired difference excludes 0; colour: of which pair" in texts
    crossed = difference("SDE at 7.5 − ODE", "Inpaint-SDE at 7.5", "Inpaint-ODE")
    block = Block("psnr", (*rows, first, crossed), True)
    assert not marks_of(draw(Table("t", "T", "masks, steps", COLUMNS, (block,))))


def test_metrics_can_be_chosen_and_unknown_ones_are_refused() -> None:
    assert len(draw(example(), metrics=["psnr"]).axes) == 2
    with pytest.raises(UserError, match="no metric 'pnsr' to draw"):
        draw(example(), metrics=["psnr", "pnsr"])
    with pytest.raises(UserError, match="no metric 'empty' to draw"):
        draw(example(), metrics=["empty"])


def test_metrics_that_the_runs_lack_are_left_out_unless_it_is_all() -> None:
    figure = draw(example(), metrics=["ssim", "psnr"])
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["PSNR ↑"]
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
    first = write_figure(draw(example(), metrics=["psnr"]), "table2", tmp_path / "a")
    second = write_figure(draw(example(), metrics=["psnr"]), "table2", tmp_path / "b")
    assert [path.name for path in first] == ["table2.png", "table2.svg", "table2.pdf"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    with Image.open(first[0]) as image:
        assert image.width > 800


def test_the_width_is_that_of_a_column_or_of_a_page_and_fonts_are_embedded(tmp_path: Path) -> None:
    column, page = draw(over(["1", "2"])), draw(example())
    assert (column.get_figwidth(), page.get_figwidth()) == (3.3, pytest.approx(6.9))
    pdf = write_figure(column, "t", tmp_path)[2].read_bytes()
    assert b"/FontFile2" in pdf  # TrueType
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


def test_a_metric_may_have_a_logarithmic_axis() -> None:
    figure = draw(example(), metrics=["shapes_fid", "psnr"], log=["shapes_fid"])
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log", "linear", "linear"]
    with pytest.raises(UserError, match=r"figure\.log: m0 has a value 0: leave it out"):
        draw(over(["1", "2"]), log=["m0"])
    with pytest.raises(UserError, match="no metric 'pnsr' to draw"):
        draw(example(), log=["pnsr"])
