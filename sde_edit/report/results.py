"""Sealed runs as numbers: which runs a table means, and how two of them differ.

A spec is addressed by dotted keys, the same that override it on the command line: `task` is the
name of the task, `task.guidance` one of its settings, `steps` a plain field; `.kind`, `.version`
and `.digest` of a choice are keys too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sde_edit.api.spec import RunSpec
from sde_edit.errors import UserError
from sde_edit.store.runs import Run


@dataclass(frozen=True)
class Measurement:
    """A stored score; replicates [B] are its values under the common bootstrap resamplings.
    per_example: id -> value, where it has one for each image.
    """

    value: float
    low: float
    high: float
    n: int
    replicates: NDArray[np.float64]
    higher_is_better: bool
    convention: str
    per_example: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Measured:
    """A sealed run, read once. n of `of` images. seconds, evaluations, calls: means per
    image; a call of the network counts for every image of its batch. None: not known.
    machines: what its processes ran on and how, which is what seconds depend on."""

    id: str
    spec: RunSpec
    n: int
    of: int
    examples: frozenset[str]
    scores: Mapping[str, Measurement]
    seconds: float | None
    evaluations: float | None
    calls: float | None
    devices: tuple[str, ...]
    machines: tuple[str, ...]


def measured(run: Run) -> Measured | None:
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
    return Measured(
        id=run.id,
        spec=run.spec,
        n=seal.n,
        of=seal.of,
        examples=frozenset(row.id for row in rows),
        scores={name: _measurement(raw, run) for name, raw in run.scores().items()},
        seconds=_mean_cost([row.seconds for row in rows]),
        evaluations=_mean_cost([row.evaluations for row in rows]),
        calls=_mean_cost([row.calls for row in rows]),
        devices=tuple(sorted({row.device for row in rows if row.device})),
        machines=_machines(run),
    )


def _machines(run: Run) -> tuple[str, ...]:
    """Of the processes that made images."""
    said = [
        f"{attempt.device} ({attempt.device_name}), {attempt.threads} threads, batches of "
        f"{attempt.batch_size}{', compiled' if attempt.compile else ''}"
        for attempt in run.attempts()
        if attempt.images
    ]
    return tuple(sorted(set(said)))


def _mean_cost(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) / len(known) if len(known) == len(costs) else None


def finished(run: Run) -> Measured:
    """As `measured`, of a run that must be sealed. Raises UserError if it is not."""
    found = measured(run)
    if found is None:
        raise UserError(f"run {run.id} is not finished; its `sde-edit run` command goes on with it")
    return found


def _measurement(raw: Mapping[str, Any], run: Run) -> Measurement:
    numbers = [raw["value"], raw["low"], raw["high"], *raw["replicates"]]
    if not all(number is not None and math.isfinite(number) for number in numbers):
        raise UserError(
            f"run {run.id}: {raw['metric']} is not finite (value {raw['value']}, interval "
            f"{raw['low']} to {raw['high']}). Look at {run.path}, then remove its file of this "
            f"metric in metrics/ and evaluate again"
        )
    return Measurement(
        value=float(raw["value"]),
        low=float(raw["low"]),
        high=float(raw["high"]),
        n=int(raw["n"]),
        replicates=np.asarray(raw["replicates"], dtype=np.float64),
        higher_is_better=bool(raw["higher_is_better"]),
        convention=str(raw["convention"]),
        per_example=raw["per_example"],
    )
