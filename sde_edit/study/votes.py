"""From answers to votes: which raters count, and what they said about each pair of arms.

Letters: R raters, N items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sde_edit.study.answers import Answer, AnswerFile
from sde_edit.study.plan import Plan, Study
from sde_edit.study.statistics import Floats, Resampling, crossed, preference_interval
from sde_edit.study.trials import trials_of

SIMULATED = "simulated"  # what the names of raters begin with that are no people


@dataclass(frozen=True)
class Rater:
    """A rater who has agreed to take part. asked: the number of questions.

    checks: how many checks were passed, of how many. counts: whether the plan's rule keeps the
    rater, who has then answered everything.
    """

    name: str
    answers: tuple[Answer, ...]
    asked: int
    checks: tuple[int, int]
    counts: bool


def raters_of(study: Study) -> list[Rater]:
    """Those who have agreed. Raises UserError for answers to another plan."""
    plan, found = study.plan, []
    for place, name in enumerate(study.raters):
        trials = trials_of(plan, place)
        progress = AnswerFile(study.answers_file(name), name, plan.digest, trials).progress()
        if progress.consent:
            found.append(_rater(name, tuple(progress.answers.values()), len(trials), plan))
    return found


def _rater(name: str, answers: tuple[Answer, ...], asked: int, plan: Plan) -> Rater:
    checks = [one for one in answers if one.kind == "check"]
    passed = sum(_chosen(one)[1] == one.item for one in checks)
    counts = len(answers) == asked and passed >= plan.passed * len(checks)
    return Rater(name, answers, asked, (passed, len(checks)), counts)


def _chosen(answer: Answer) -> tuple[int, int]:
    """The arm and the item of the image that was chosen."""
    return answer.left if answer.choice == "left" else answer.right


@dataclass(frozen=True)
class Asked:
    """What some raters answered about two arms, by their places in the plan.

    votes_RN: 1 for the first arm. left_RN: 1 for the left side. again: for each repeat, whether
    the same arm was chosen as before.
    """

    arms: tuple[int, int]
    votes_RN: Floats
    left_RN: Floats
    again: tuple[bool, ...]

    @property
    def answered(self) -> bool:
        """Whether there is a vote."""
        return bool(np.isfinite(self.votes_RN).any())

    @cached_property
    def resampling(self) -> Resampling:
        """Of these raters and items; the same for every pair."""
        return crossed(*self.votes_RN.shape)

    def interval(self, values_RN: Floats) -> tuple[float, float] | None:
        """95 % interval of a mean over raters and items; None for one of either."""
        return preference_interval(values_RN, self.resampling)


def asked_about(plan: Plan, raters: Sequence[Rater], arms: tuple[int, int]) -> Asked:
    """The answers of these raters about these arms."""
    votes_RN = np.full((len(raters), len(plan.items)), np.nan)
    left_RN, again = votes_RN.copy(), []
    for r, rater in enumerate(raters):
        about = [one for one in rater.answers if {one.left[0], one.right[0]} == {*arms}]
        for one in (one for one in about if one.kind == "main"):
            votes_RN[r, one.item] = _chosen(one)[0] == arms[0]
            left_RN[r, one.item] = one.choice == "left"
        for one in (one for one in about if one.kind == "repeat"):
            again.append(votes_RN[r, one.item] == (_chosen(one)[0] == arms[0]))
    return Asked(arms, votes_RN, left_RN, tuple(map(bool, again)))
