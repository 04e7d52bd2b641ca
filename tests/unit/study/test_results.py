"""The table of a study, from simulated raters whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from sde_edit.api.metric import Score
from sde_edit.report.claims import Claim, judge, world_of
from sde_edit.report.formats import from_json, markdown, rendered, to_json
from sde_edit.study.plan import Study
from sde_edit.study.results import study_table
from tests.unit.study.plans import plan_of, prefers, simulate

NOTHING: list[dict[str, Score]] = [{}, {}, {}]


def table_of(tmp_path, raters, *, plan=None, scores=NOTHING, most=None):
    study = Study.named("made-up", tmp_path)
    study.write(plan or plan_of(raters=0))
    return study_table(study.plan, simulate(study, raters, most=most), scores)


def cell(table, block, row, column="raters that count"):
    found = [
        c for b, r, place, c in table.cells()
        if (b.title, r.label, place.heading) == (block, row, column)
    ]  # fmt: skip
    return found[0] if found else None


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """Six who prefer the first arm in 9 of 10 cases, and one who pays no attention."""
    plan = plan_of(50, raters=0)
    chooses = [*[prefers(0, 0.9)] * 6, prefers(0, 0.0, attentive=False)]
    return table_of(tmp_path_factory.mktemp("six"), chooses, plan=plan)


def test_preference_of_those_who_count_and_of_all(six):
    counted, every = (
        cell(six, "preference", "SDE", c) for c in ("raters that count", "all raters")
    )
    assert 0.85 < counted.value < 0.95
    assert every.value == pytest.approx((6 * counted.value + 0) / 7)
    assert counted.low < counted.value < counted.high
    other = cell(six, "preference", "ODE")
    assert other.value == pytest.approx(1 - counted.value)
    assert (other.low, other.high) == pytest.approx((1 - counted.high, 1 - counted.low))


def test_difference_is_that_of_the_two_and_is_judged(six):
    found = cell(six, "preference", "SDE − ODE")
    ours, theirs = (cell(six, "preference", arm) for arm in ("SDE", "ODE"))
    assert found.value == pytest.approx(ours.value - theirs.value)
    assert found.low == pytest.approx(ours.low - theirs.high)
    assert found.verdict == "better"
    assert found.p < 0.05
    assert found.runs == ("run-SDE", "run-ODE")


def test_wilson_is_shorter_and_said_to_be_of_independent_answers(six):
    alone = cell(six, "preference, as if answers were independent", "SDE")
    main = cell(six, "preference", "SDE")
    assert alone.value == main.value
    assert main.low < alone.low < alone.high < main.high
    assert "too short if raters or items differ" in markdown(six)


def test_notes_say_who_counts_and_by_which_rule(six):
    text = markdown(six)
    assert "passed 80 % of the checks: 6 of 7" in text
    assert "simulated-1 counts: 61 of 61 questions answered, 3 of 3 checks passed." in text
    assert "simulated-7 does not count: 61 of 61 questions answered" in text


def test_simulated_raters_are_named_so_wherever_the_table_goes(six):
    assert six.name == "study-made-up-simulated"
    assert six.title == "Simulated raters, no people, choose between SDE and ODE"


def test_table_reads_back_and_has_every_form(six, tmp_path):
    assert from_json(to_json(six)) == six
    files = rendered(six, tmp_path)
    assert {file.suffix for file in files} == {".md", ".csv", ".tex", ".json"}
    assert "over raters and items" in markdown(six)


def test_a_rater_of_one_side_is_seen(tmp_path):
    table = table_of(tmp_path, [lambda trial, rng: trial.known or "left"] * 2)
    assert cell(table, "left side chosen", "answers").value == 1
    assert cell(table, "same choice again", "repeats").value == 0
    assert cell(table, "preference", "SDE").value == 0.5
    assert cell(table, "SDE chosen, by rater", "simulated-1").value == 0.5


def test_who_agrees_with_themselves_and_each_other(tmp_path):
    table = table_of(tmp_path, [prefers(0), prefers(1)])
    assert cell(table, "same choice again", "repeats").value == 1
    assert cell(table, "Krippendorff's alpha", "raters").value == pytest.approx(1 - 39 / 20)


def test_unfinished_raters_do_not_count_but_are_shown(tmp_path):
    table = table_of(tmp_path, [prefers(0)] * 3, most=10)
    assert cell(table, "preference", "SDE").value is None
    assert cell(table, "preference", "SDE", "all raters").value == 1


@pytest.mark.parametrize(
    ("raters", "half_width", "said"),
    [(2, 0.4, "reached, 2 count"), (3, 0.4, "not reached, 2 count"), (2, 1e-4, "not reached, 2")],
)
def test_rule_for_stopping(tmp_path, raters, half_width, said):
    study = Study.named("made-up", tmp_path)
    study.write(plan_of(raters=0, half_width=half_width))
    found = simulate(study, [prefers(0)] * 2)
    table = study_table(plan_of(raters=raters, half_width=half_width), found, NOTHING)
    assert said in markdown(table)


def test_one_rater_has_no_interval_over_raters(tmp_path):
    table = table_of(tmp_path, [prefers(0, 0.7)])
    found = cell(table, "preference", "SDE")
    assert found.value is not None
    assert found.low is None
    assert cell(table, "preference", "SDE − ODE").verdict == "undecided"


def test_several_arms_have_strengths_and_columns_for_their_pairs(tmp_path):
    def chooses(trial, rng):
        gap = trial.right.arm - trial.left.arm  # the first arm is the strongest
        return trial.known or ("left" if rng.random() < 1 / (1 + np.exp(-gap)) else "right")

    plan = plan_of(60, ("a", "b", "c"), raters=0)
    table = table_of(tmp_path, [chooses] * 3, plan=plan)
    everything = "raters that count, all pairs"
    a, b, c = (cell(table, "Bradley-Terry strength", x, everything) for x in "abc")
    assert [a.value, b.value, c.value] == pytest.approx([1, 0, -1], abs=0.35)
    assert a.low < a.value < a.high
    assert cell(table, "preference", "c", "raters that count, a or b").value is None
    assert cell(table, "preference", "a − c", "raters that count, a or c").value > 0


def score(values, *, higher=True):
    return Score(
        metric="m", kind="m", version=1, settings={}, convention="", higher_is_better=higher,
        seal="", value=0.0, low=0.0, high=0.0, n=len(values), replicates=[], per_example=values,
    )  # fmt: skip


@pytest.mark.parametrize("higher", [True, False])
def test_2afc_score_is_how_often_raters_agree_with_a_metric(tmp_path, higher):
    plan = plan_of(raters=0)
    sign = 1 if higher else -1
    ours = {item.id: sign * (1.0 if i < 15 else -1.0) for i, item in enumerate(plan.items)}
    scores = [
        {"m": score(ours, higher=higher)},
        {"m": score(dict.fromkeys(ours, 0.0), higher=higher)},
    ]
    table = table_of(tmp_path, [prefers(0)] * 2, plan=plan, scores=scores)
    assert cell(table, "2AFC score", "m").value == pytest.approx(0.75)


def test_a_claim_is_judged_by_the_table(six):
    claim = Claim(
        name="c", topic="Dragging", sentence="", where="", table=six.name, rule="every",
        arms=("SDE",), than="ODE", metrics=("preference",), columns=("raters that count",),
    )  # fmt: skip
    finding = judge(claim, six, "")
    assert finding.verdict == "reproduced"
    assert finding.comparisons[0].paired
    assert world_of(six).model == ("shapes",)
