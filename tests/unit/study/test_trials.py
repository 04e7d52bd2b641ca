"""What raters are asked: balanced, repeated, checked, and drawn from (seed, rater) alone."""

from __future__ import annotations

from collections import Counter

import pytest

from sde_edit.study.trials import trials_of
from tests.unit.study.plans import plan_of

PLAN = plan_of(40)


def of_kind(kind, rater=0, plan=PLAN):
    return [trial for trial in trials_of(plan, rater) if trial.kind == kind]


def test_trials_are_the_same_every_time_and_others_for_each_rater_and_seed():
    assert trials_of(PLAN, 3) == trials_of(PLAN, 3)
    assert trials_of(PLAN, 3) != trials_of(PLAN, 4)
    assert trials_of(PLAN, 3) != trials_of(plan_of(40, seed=1), 3)


def test_first_come_three_for_practice_that_count_nowhere():
    trials = trials_of(PLAN, 0)
    assert [trial.kind for trial in trials].index("practice") == 0
    assert [trial.item for trial in trials[:3]] == [40, 41, 42]
    assert all(trial.item < 40 for trial in trials[3:])


@pytest.mark.parametrize("arms", [("a", "b"), ("a", "b", "c")])
def test_every_item_is_shown_once_for_every_pair(arms):
    plan = plan_of(15, arms)
    shown = Counter((t.item, *sorted((t.left.arm, t.right.arm))) for t in of_kind("main", 1, plan))
    assert shown == Counter((item, *pair) for item in range(15) for pair in plan.pairs)


@pytest.mark.parametrize("n", [40, 41])
def test_each_arm_is_on_the_left_half_the_time_for_each_rater(n):
    for rater in range(6):
        left = sum(trial.left.arm == 0 for trial in of_kind("main", rater, plan_of(n)))
        assert abs(left - n / 2) <= 0.5


def test_two_raters_see_every_item_both_ways_round():
    first, second = ({t.item: t.left.arm for t in of_kind("main", r)} for r in (4, 5))
    assert all(first[item] != second[item] for item in first)


def test_repeats_are_a_tenth_swapped_and_far_from_the_first_time():
    trials = trials_of(PLAN, 0)
    repeats = [(i, trial) for i, trial in enumerate(trials) if trial.kind == "repeat"]
    assert len(repeats) == 4
    for i, trial in repeats:
        assert i - trials.index(trial.swapped("main")) > 10


def test_checks_are_a_twentieth_and_show_another_item_on_the_wrong_side():
    checks = [trial for rater in range(20) for trial in of_kind("check", rater)]
    assert len(checks) == 40
    for trial in checks:
        assert trial.known
        assert trial.edit(trial.known).item == trial.item
        assert {trial.left.item, trial.right.item} > {trial.item}
        assert trial.left.arm == trial.right.arm
    assert 10 < sum(trial.known == "left" for trial in checks) < 30


def test_order_is_another_for_each_rater():
    orders = {tuple(trial.item for trial in of_kind("main", rater)) for rater in range(8)}
    assert len(orders) == 8
