"""Plans and raters that are made up: simulated raters, no people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from sde_edit.study.answers import AnswerFile
from sde_edit.study.plan import Arm, Item, Plan, Study
from sde_edit.study.trials import Side, Trial, trials_of
from sde_edit.study.votes import Rater, raters_of

Chooses = Callable[[Trial, np.random.Generator], Side]


def plan_of(n: int = 20, arms: Sequence[str] = ("SDE", "ODE"), **changes: object) -> Plan:
    """A plan whose images do not exist."""
    items = [Item(f"{i:03d}", "", f"o{i}", tuple(f"{a}{i}" for a in arms)) for i in range(n + 3)]
    plan = Plan(
        name="made-up",
        question="Select the better image.",
        guidelines=(),
        seed=0,
        arms=tuple(Arm(label, f"run-{label}", "") for label in arms),
        items=tuple(items[:n]),
        practice=tuple(items[n:]),
        passed=0.8,
        raters=4,
        half_width=0.2,
        notes=("Model: shapes (version 1).", "Data: shapes-drags (version 1)."),
    )
    return replace(plan, **changes)  # type: ignore[arg-type]


def prefers(arm: int, how_often: float = 1.0, attentive: bool = True) -> Chooses:
    """Chooses this arm where it is shown, so often; passes checks if attentive."""

    def chooses(trial: Trial, rng: np.random.Generator) -> Side:
        wanted = rng.random() < how_often
        if trial.known and attentive:
            return trial.known
        return "left" if (trial.left.arm == arm) == wanted else "right"

    return chooses


def simulate(study: Study, raters: Sequence[Chooses], *, most: int | None = None) -> list[Rater]:
    """Let simulated raters answer, each at most so many questions."""
    study.add_raters(len(raters), "simulated")
    for place, (name, chooses) in enumerate(zip(study.raters, raters, strict=True)):
        trials = trials_of(study.plan, place)
        file = AnswerFile(study.answers_file(name), name, study.plan.digest, trials)
        rng = np.random.default_rng(place)
        file.agree()
        for number, trial in enumerate(trials[:most]):
            file.answer(number, chooses(trial, rng), 1.0)
    return raters_of(study)
