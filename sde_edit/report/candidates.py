"""Several edits of one image as candidates, of which one is kept.

Runs that differ only in their seed hold the candidates. The examples are the clusters: a candidate
is chosen within an example, and whole examples are resampled.

Letters: B resamplings, N examples, S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sde_edit.api.metric import Score, centred_interval
from sde_edit.api.resampling import resampled
from sde_edit.errors import UserError
from sde_edit.report.results import RunResult, check_same_examples

MEAN = "mean"


def as_candidates(runs: Sequence[RunResult], kept: str) -> list[RunResult]:
    """The runs with the scores of what is kept of each example's candidates.

    kept: `mean` for their mean, which is what one of them has on average; else the name of the
    metric by which the best is kept, of equally good ones the first. All of them have to be made,
    so each run costs what all do. Metrics of which an example has no value of its own, such as a
    Fréchet distance, are left out unless the mean is kept.

    Raises UserError if the runs have no value per example by which to choose, or hold different
    examples.
    """
    paid = [
        replace(
            run,
            seconds=_total([one.seconds for one in runs]),
            evaluations=_total([one.evaluations for one in runs]),
            calls=_total([one.calls for one in runs]),
        )
        for run in runs
    ]
    if kept == MEAN:
        return paid
    chosen_N = _best(runs, kept)
    common = set.intersection(*(set(run.scores) for run in runs))
    scores = {
        name: score
        for name in runs[0].scores
        if name in common and (score := _score_of(runs, name, chosen_N))
    }
    return [replace(run, scores=scores) for run in paid]


def _total(costs: Sequence[float | None]) -> float | None:
    """The sum of a cost per image over the runs; None if one is unknown."""
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if len(known) == len(costs) else None


def _best(runs: Sequence[RunResult], metric: str) -> NDArray[np.int64]:
    """The number of the best run for each example, in the order of the ids."""
    found = [run.scores[metric] for run in runs if metric in run.scores]
    who = ", ".join(run.id for run in runs)
    if len(found) < len(runs):
        raise UserError(
            f"not all of runs {who} have {metric}, by which the best candidate is chosen: "
            f"give {metric} in the table's `also: metrics`, or measure it with `sde-edit evaluate "
            f"{who.replace(',', '')} metrics={metric}`"
        )
    if not all(len(score.per_example or {}) == score.n for score in found):
        raise UserError(
            f"{metric} has no value for each image, so the best candidate cannot be chosen by it: "
            "keep `mean`, or the best by a metric that has, such as psnr"
        )
    check_same_examples(runs, "are candidates for each other")
    values_SN = np.stack([_values(score) for score in found])
    best: NDArray[np.int64] = np.argmax(values_SN if found[0].higher_is_better else -values_SN, 0)
    return best


def _values(score: Score) -> NDArray[np.float64]:
    """The values per example [N], in the order of the ids."""
    values = score.per_example or {}
    return np.array([values[i] for i in sorted(values)])


def _score_of(runs: Sequence[RunResult], metric: str, chosen_N: NDArray[np.int64]) -> Score | None:
    """The score of the chosen candidates; None if it is no mean over examples."""
    scores = [run.scores[metric] for run in runs]
    if not all(map(_is_mean, scores)):
        return None
    ids = sorted(scores[0].per_example or {})
    value_N = np.stack([_values(score) for score in scores])[chosen_N, np.arange(len(ids))]
    resamplings = min(len(score.replicates) for score in scores)
    replicates_B = resampled(ids, resamplings) @ value_N / len(ids)
    value = float(value_N.mean())
    low, high = centred_interval(value, replicates_B)
    return replace(
        scores[0],
        value=value,
        low=low,
        high=high,
        replicates=replicates_B.tolist(),
        per_example=dict(zip(ids, value_N.tolist(), strict=True)),
    )


def _is_mean(score: Score) -> bool:
    values = _values(score)
    return len(values) == score.n and math.isclose(values.mean(), score.value, rel_tol=1e-9)
