"""What arms look like, and what is written around the panels."""

from __future__ import annotations

from itertools import combinations

import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure

from sde_edit.report.plot_style import (
    COLUMN,
    RC,
    arm_entry,
    legend,
    style_of,
    styles_of,
    write_title,
)
from sde_edit.theory.plots import ARMS

METHODS = {
    "ODE": ("ODE", "DDIM", "Inpaint-ODE", "DDIM inversion", "DiffEdit-ODE", "ODE, no LoRA"),
    "SDE": ("SDE", "DDPM", "Inpaint-SDE", "SDE-Drag", "P2P-SDE", "difference form, float32"),
    "ODE2": ("Inpaint-ODE2", "DPM-Solver++"),
    "SDE2": ("Inpaint-SDE2",),
    "Cycle-SDE": ("Cycle-SDE (DDPM)", "Cycle-SDE-2 (difference form)", "Alg. 5, bfloat16"),
    "BDIA": ("BDIA-DDIM", "DiffEdit-BDIA", "BDIA, gamma 0.96"),
    "EDICT": ("DiffEdit-EDICT", "EDICT, p 1"),
    "EF": ("edit-friendly", "Edit-friendly DDPM inversion", "P2P-EF"),
    "O-BELM": ("DiffEdit-O-BELM",),
    "Rex": ("Rex, zeta 0.9",),
    "PLMS": ("PLMS",),
    "DragDiffusion": ("DragDiffusion by SDE",),
    "RegionDrag": ("RegionDrag, ODE form",),
    "autoencoder": ("no edit", "autoencoder, float32"),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_looks_the_same_under_every_label(method: str) -> None:
    style = style_of(method)
    assert style is not None
    assert [style_of(label) for label in METHODS[method]] == [style] * len(METHODS[method])
    for label in METHODS[method]:
        assert styles_of(["another", label])[label] == styles_of([label, "another"])[label] == style


def test_methods_differ_in_colour_and_in_marker() -> None:
    styles = [style_of(method) for method in METHODS] + list(styles_of(["a", "b", "c"]).values())
    for one, other in combinations(styles, 2):
        assert one
        assert other
        assert one.colour != other.colour
        assert one.marker != other.marker


def test_variants_of_a_method_keep_its_marker_and_differ_in_dash_and_shade() -> None:
    found = list(
        styles_of(f"BDIA{gamma}" for gamma in ("", ", .5", ", .7", ", .8", ", .9")).values()
    )
    assert found[0] == style_of("BDIA")
    assert len({style.marker for style in found}) == 1
    assert len({style.colour for style in found}) == 5
    assert len({style.dash for style in found[:4]}) == 4


def test_the_toy_looks_like_the_tables() -> None:
    assert [arm.style for arm in ARMS] == [style_of("ODE"), style_of("SDE")]


def test_a_long_title_is_broken_and_takes_its_room() -> None:
    short, long = (Figure(figsize=(COLUMN, 2)) for _ in range(2))
    write_title(short, "A title")
    write_title(long, "A title that is too long for the width of a column")
    assert short.get_suptitle() == "A title"
    assert long.get_suptitle().count("\n") == 1
    assert 2 < short.get_figheight() < long.get_figheight()


@rc_context(RC)
def test_a_legend_is_read_line_by_line_in_as_many_columns_as_fit() -> None:
    figure = Figure(figsize=(COLUMN, 2), layout="constrained")
    labels = ["EDICT", "BDIA-DDIM", "BDIA-DDIM, gamma 0.5", "DDIM", "DDPM"]
    styles = styles_of(labels)
    legend(figure, [arm_entry(styles[label], label) for label in labels], title="a title " * 9)
    (made,) = figure.legends
    columns = [labels[0::2], labels[1::2]]
    assert [text.get_text() for text in made.get_texts()] == [*columns[0], *columns[1]]
    assert made.get_title().get_text().count("\n") == 1
    figure.draw_without_rendering()
    box = made.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.get_figwidth() * figure.dpi
