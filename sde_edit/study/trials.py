"""What a rater is asked, in which order and on which side: drawn from (seed, rater) alone.

The sides are balanced: of each pair of arms a rater sees the first on the left in half of the
items, and two raters, such as the first and the second, see every item both ways round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sde_edit.diffusion.streams import named_generator
from sde_edit.study.plan import CHECKS, REPEATS, Plan

Side = Literal["left", "right"]
Kind = Literal["practice", "main", "repeat", "check"]


@dataclass(frozen=True)
class Edit:
    """The image of an arm: its place in the plan's arms, and that of the item in its `shown`."""

    arm: int
    item: int


@dataclass(frozen=True)
class Trial:
    """One question: the original of an item and two edits.

    A check shows the edit of another item on one side; the other side is the right answer.
    """

    kind: Kind
    item: int
    left: Edit
    right: Edit

    def edit(self, side: Side) -> Edit:
        """What is on this side."""
        return self.left if side == "left" else self.right

    @property
    def known(self) -> Side | None:
        """The right answer of a check, None of other questions."""
        if self.kind != "check":
            return None
        return "left" if self.left.item == self.item else "right"

    def swapped(self, kind: Kind) -> Trial:
        """The same question the other way round."""
        return Trial(kind, self.item, self.right, self.left)


def trials_of(plan: Plan, rater: int) -> tuple[Trial, ...]:
    """All questions of a rater, by the rater's place from 0, in their order.

    Repeats are of questions in the first third and stand in the last, checks anywhere.
    """
    rng = _stream(plan, rater, "order")
    main = _main(plan, rater)
    main = [main[i] for i in rng.permutation(len(main))]
    placed = [(float(place), trial) for place, trial in enumerate(main)]
    third = len(main) / 3
    for i in rng.permutation(math.ceil(third))[: math.ceil(REPEATS * len(main))]:
        placed.append((rng.uniform(2 * third, len(main)), main[i].swapped("repeat")))
    for _ in range(math.ceil(CHECKS * len(main))):
        placed.append((rng.uniform(0, len(main)), _check(plan, rng)))
    placed.sort(key=lambda one: one[0])
    return (*_practice(plan, rng), *(trial for _, trial in placed))


def _stream(plan: Plan, number: int, purpose: str) -> np.random.Generator:
    return named_generator(f"{plan.seed}\x1f{plan.name}\x1f{number}\x1f{purpose}")


def _main(plan: Plan, rater: int) -> list[Trial]:
    """Every item with every pair of arms, with balanced sides."""
    n, found = len(plan.items), []
    for number, (a, b) in enumerate(plan.pairs):
        first_left = _stream(plan, rater // 2, f"sides {a} {b}").permutation(n) % 2 == number % 2
        for item, as_is in enumerate(first_left != bool(rater % 2)):
            trial = Trial("main", item, Edit(a, item), Edit(b, item))
            found.append(trial if as_is else trial.swapped("main"))
    return found


def _check(plan: Plan, rng: np.random.Generator) -> Trial:
    """An edit beside the same arm's edit of another item."""
    item, other = (int(i) for i in rng.choice(len(plan.items), 2, replace=False))
    arm = int(rng.integers(len(plan.arms)))
    trial = Trial("check", item, Edit(arm, item), Edit(arm, other))
    return trial if rng.random() < 0.5 else trial.swapped("check")


def _practice(plan: Plan, rng: np.random.Generator) -> list[Trial]:
    found = []
    for item in range(len(plan.items), len(plan.shown)):
        a, b = (int(arm) for arm in rng.choice(len(plan.arms), 2, replace=False))
        found.append(Trial("practice", item, Edit(a, item), Edit(b, item)))
    return found
