"""Sealed runs as numbers: which runs a table means, and how two of them differ.

A spec is addressed by dotted keys, the same that override it on the command line: `task` is the
name of the task, `task.guidance` one of its settings, `steps` a plain field; `.kind`, `.version`
and `.digest` of a choice are keys too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sde_edit.api.metric import Score
from sde_edit.api.spec import RunSpec
from sde_edit.errors import UserError
from sde_edit.store.runs import Run


@dataclass(frozen=True)
class RunResult:
    """A sealed run, read once. n of `of` images. seconds, evaluations, calls: means per
    image; a call of the network counts for every image of its batch. None: not known.
    machines: what its processes ran on and how, which is what seconds depend on."""

    id: str
    spec: RunSpec
    n: int
    of: int
    examples: frozenset[str]
    scores: Mapping[str, Score]
    seconds: float | None
    evaluations: float | None
    calls: float | None
    devices: tuple[str, ...]
    machines: tuple[str, ...]


def load_result(run: Run) -> RunResult | None:
    """None if the run is not sealed.

    Raises UserError for a score that is not finite, or if images were lost since the sealing.
    """
    seal = run.seal
    if seal is None:
        return None
    rows = list(run.rows().values())
    if len(rows) < seal.n:
        raise UserError(
            f"run {run.id} was sealed with {seal.n} images, {len(rows)} of them are in {run.path}. "
            "Its `sde-edit run` command makes the others again"
        )
    scores = run.scores()
    for score in scores.values():
        _check_finite(score, run)
    return RunResult(
        id=run.id,
        spec=run.spec,
        n=seal.n,
        of=seal.of,
        examples=frozenset(row.id for row in rows),
        scores=scores,
        seconds=_mean_cost([row.seconds for row in rows]),
        evaluations=_mean_cost([row.evaluations for row in rows]),
        calls=_mean_cost([row.calls for row in rows]),
        devices=tuple(sorted({row.device for row in rows if row.device})),
        machines=_machines(run),
    )


def _machines(run: Run) -> tuple[str, ...]:
    """Of the processes that made images."""
    said = [
        f"{facts['device']} ({facts['device_name']}), {facts['threads']} threads, batches of "
        f"{facts['batch_size']}{', compiled' if facts['compile'] else ''}"
        for facts in run.attempts()
        if facts["images"]
    ]
    return tuple(sorted(set(said)))


def _mean_cost(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) / len(known) if len(known) == len(costs) else None


def load_finished(run: Run) -> RunResult:
    """The result of a run that must be sealed. Raises UserError if it is not."""
    found = load_result(run)
    if found is None:
        raise UserError(f"run {run.id} is not finished; its `sde-edit run` command goes on with it")
    return found


def _check_finite(score: Score, run: Run) -> None:
    if not all(map(math.isfinite, (score.value, score.low, score.high, *score.replicates))):
        raise UserError(
            f"run {run.id}: {score.metric} is not finite (value {score.value}, interval "
            f"{score.low} to {score.high}). Look at {run.path}, then remove its file of this "
            f"metric in metrics/ and evaluate again"
        )
