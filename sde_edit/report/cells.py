"""From the scores of runs to cells: values, costs, paired differences, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sde_edit.api.metric import centred_interval
from sde_edit.api.spec import ComponentSpec
from sde_edit.errors import UserError
from sde_edit.report.results import Measured
from sde_edit.report.selection import _dotted, says
from sde_edit.report.table import Cell, Verdict

Cost = Literal["evaluations", "calls", "seconds"]


# ------------------------------------------------------------------ cells
def score_cell(run: Measured, metric: str) -> Cell:
    """Value, interval and n. Raises KeyError if the run lacks the metric."""
    score = run.scores[metric]
    return of_several(Cell(score.value, score.low, score.high, score.n, run.of, (run.id,)))


def of_several(cell: Cell) -> Cell:
    """The cell; without interval and undecided if it is of one example, which has no spread."""
    if cell.n != 1:
        return cell
    return replace(cell, low=None, high=None, verdict="undecided" if cell.verdict else "")


def cost_cell(runs: Sequence[Measured], cost: Cost) -> Cell:
    """The mean cost of an image over runs; a missing one if there is no run, or it is not known."""
    costs = [getattr(run, cost) for run in runs]
    if not costs or None in costs:
        return Cell()
    ids = tuple(run.id for run in runs)
    return Cell(sum(costs) / len(costs), n=runs[0].n, of=runs[0].of, runs=ids)


def difference_cell(
    ours: Sequence[Measured], theirs: Sequence[Measured], metric: str
) -> Cell | str:
    """Ours - theirs with its paired interval and a verdict on ours; where they cannot be paired,
    why. Several runs on a side, as those of three seeds, stand for their mean.

    The interval is the difference + quantiles of the centred differences of the replicates:
    centred, because bootstrap values of a Frechet distance lie above the value itself.
    """
    first, *others = [*ours, *theirs]
    score = first.scores[metric]
    for other in others:
        who, rival = f"runs {first.id} and {other.id}", other.scores[metric]
        if other.examples != first.examples or rival.n != score.n:
            return f"{who} hold different examples"
        if rival.replicates.shape != score.replicates.shape:
            return f"{who} have different numbers of bootstrap resamplings"
    (left, left_replicates), (right, right_replicates) = (_mean(g, metric) for g in (ours, theirs))
    value = left - right
    low, high = centred_interval(value, left_replicates - right_replicates)
    verdict = verdict_of(low, high, higher_is_better=score.higher_is_better)
    ids = tuple(run.id for run in [first, *others])
    return of_several(Cell(value, low, high, score.n, first.of, ids, verdict))


def _mean(runs: Sequence[Measured], metric: str) -> tuple[float, NDArray[np.float64]]:
    """Value and replicates, averaged over runs."""
    scores = [run.scores[metric] for run in runs]
    replicates: NDArray[np.float64] = np.mean([score.replicates for score in scores], axis=0)
    return float(np.mean([score.value for score in scores])), replicates


def verdict_of(low: float, high: float, *, higher_is_better: bool) -> Verdict:
    """Of an interval of a difference."""
    if low <= 0 <= high:
        return "undecided"
    return "better" if (low > 0) == higher_is_better else "worse"


def common_convention(metric: str, runs: Sequence[Measured]) -> tuple[str, bool]:
    """Convention and direction of a metric. Raises UserError if the runs disagree in them."""
    found: dict[tuple[str, bool], list[str]] = {}
    for run in runs:
        score = run.scores[metric]
        found.setdefault((score.convention, score.higher_is_better), []).append(run.id)
    if len(found) > 1:
        parts = (f"{text!r} (runs {', '.join(ids)})" for (text, _), ids in found.items())
        raise UserError(
            f"{metric} was measured by different conventions: {'; '.join(parts)}. Evaluate these "
            "runs again with one of them"
        )
    return next(iter(found))


def metrics_of(runs: Sequence[Measured]) -> list[str]:
    """All metrics of the runs, in the order of their first appearance."""
    return list(dict.fromkeys(name for run in runs for name in run.scores))


def ranked(values: Mapping[str, float]) -> list[str]:
    """Ids, that of the highest value first; equal ones by id."""
    return sorted(values, key=lambda i: (-values[i], i))


# ------------------------------------------------------------------ what the runs were made with
def settings_notes(runs: Sequence[Measured]) -> list[str]:
    """One line for each part of the specs, naming every setting."""
    notes = []
    for part in ("model", "task", "sampler", "data"):
        choices = dict.fromkeys(described(getattr(run.spec, part)) for run in runs)
        notes.append(f"{part.capitalize()}: {'; '.join(choices)}.")
    for label, key in (("Grid spacing", "spacing"), ("last sigma", "last_sigma"),
                       ("dtype", "dtype"), ("seed", "seed")):  # fmt: skip
        asked = [run.spec for run in runs if says(run.spec, key)]
        values = dict.fromkeys(str(getattr(spec, key)) for spec in asked)
        notes += [f"{label} {', '.join(values)}"] if values else []
    elsewhere = dict.fromkeys(run.spec.sampler.name for run in runs if run.spec.is_external)
    brought_in = [f"Images made elsewhere: {', '.join(elsewhere)}."] if elsewhere else []
    return [*notes[:4], *(["; ".join(notes[4:]) + "."] if notes[4:] else []), *brought_in]


def described(choice: ComponentSpec) -> str:
    """Name, version, digest and settings; the name alone of what had no part in the images."""
    if not choice.version:
        return choice.name
    digest = f", digest {choice.digest[:12]}" if choice.digest else ""
    params = _dotted("", choice.params)
    settings = ", ".join(f"{key[1:]} {_shown(value)}" for key, value in params.items())
    return f"{choice.name} (version {choice.version}{digest})" + (settings and f" with {settings}")


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) and " " in value else str(value)
