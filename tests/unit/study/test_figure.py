"""The bars of a study show what its table says."""

from __future__ import annotations

import pytest

from sde_edit.study.figure import bars
from sde_edit.study.plan import Study
from sde_edit.study.results import study_table
from tests.unit.study.plans import plan_of, prefers, simulate


def table_of(folder, arms, *, most=None):
    study = Study.named("made-up", folder)
    study.write(plan_of(arms=arms, raters=0))
    raters = simulate(study, [prefers(0, 0.8)] * 3, most=most)
    return study_table(study.plan, raters, [{}] * len(arms))


def test_a_bar_is_split_where_the_preference_is(tmp_path):
    table = table_of(tmp_path, ("SDE", "ODE"))
    (axes,) = bars(table).axes
    first, second = (row.cells[0] for row in table.blocks[0].rows[:2])
    left, right = axes.patches[:2]
    assert (left.get_width(), right.get_x()) == pytest.approx((first.value, first.value))
    assert right.get_width() == pytest.approx(second.value)
    assert tuple(axes.lines[0].get_xdata()) == pytest.approx((first.low, first.high))
    texts = [text.get_text() for text in axes.texts[:3]]
    assert texts == [f"SDE {first.value:.0%}".replace("%", " %"),
                     f"{second.value:.0%} ODE".replace("%", " %"), "raters that count"]  # fmt: skip


def test_every_pair_and_group_of_raters_has_a_bar(tmp_path):
    (axes,) = bars(table_of(tmp_path, ("a", "b", "c"))).axes
    assert len(axes.patches) == 2 * 3 * 2


def test_where_nobody_counts_yet_there_are_the_bars_of_all(tmp_path):
    (axes,) = bars(table_of(tmp_path, ("a", "b"), most=10)).axes
    assert len(axes.patches) == 2
    assert axes.texts[2].get_text() == "all raters"
