"""The simulation of raters draws what it says, and its page has the table that it makes."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.simulate_raters import BEGIN, END, SETTINGS, Setting, intervals, row
from sde_edit.study.statistics import crossed
from tests.builders import ROOT


def test_truth_is_the_mean_of_what_is_drawn():
    setting = Setting(300, 300, 0.7, 1.0)
    rng = np.random.default_rng(1)
    drawn = np.mean([setting.votes(rng).mean() for _ in range(20)])
    assert setting.truth() == pytest.approx(drawn, abs=0.01)
    assert Setting(6, 100, 0.0, 0.0).truth() == pytest.approx(1 / (1 + np.exp(-0.5)))


def test_main_interval_holds_all_others_where_raters_and_items_differ():
    votes_RN = SETTINGS[1].votes(np.random.default_rng(0))
    found = intervals(votes_RN, crossed(*votes_RN.shape))
    low, high = found.pop("**over both, Student**")
    assert all(low < other[0] < other[1] < high for other in found.values())


def test_wilson_covers_too_rarely_and_the_main_interval_does_not():
    line = row(SETTINGS[1], 100)
    assert float(line["Wilson"]) < 0.7
    assert float(line["**over both, Student**"]) > 0.9


def test_page_has_a_line_for_each_setting():
    text = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    table = text.split(BEGIN)[1].split(END)[0]
    assert table.count("\n| ") == 1 + len(SETTINGS)
