"""The scores and costs of sealed runs."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sde_edit.api.metric import Score
from sde_edit.api.spec import RunSpec
from sde_edit.errors import UserError
from sde_edit.store.files import DamagedFileError
from sde_edit.store.runs import AttemptRecord, ImageRecord, Run, Seal

log = logging.getLogger("sde_edit")


@dataclass(frozen=True)
class RunResult:
    """A sealed run, read once: n of the `of` images of its data set.

    examples: the ids of its images. seconds, evaluations, calls: means per image, None if unknown;
    evaluations and calls are those of a run that shares nothing, and a call of the network counts
    for every image of its batch.
    made_on: the devices of its processes, and whether they compiled the network: images of two of
    them differ by rounding.
    machines: the hardware and settings of its processes, on which the seconds depend.
    cut: how many images have a prompt of which the text encoder read only the beginning.
    """

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
    made_on: tuple[str, ...]
    machines: tuple[str, ...]
    cut: int


def load_result(run: Run) -> RunResult | None:
    """The result of a run, or None if it is not sealed.

    Raises UserError for a score that is not finite, and DamagedFileError if images were lost since
    the sealing.
    """
    seal = run.seal
    if seal is None:
        return None
    images = list(run.rows().values())
    if len(images) < seal.n:
        raise DamagedFileError(
            f"run {run.id} was sealed with {seal.n} images, {len(images)} of them are in "
            f"{run.path}. Its `sde-edit run` command makes the others again"
        )
    scores = run.scores()
    for score in scores.values():
        _check_finite(score, run)
    attempts = [attempt for attempt in run.attempts() if attempt.images]
    return RunResult(
        id=run.id,
        spec=run.spec,
        n=seal.n,
        of=seal.of,
        examples=_sealed(images, seal, scores),
        scores=scores,
        seconds=_mean_cost([image.seconds for image in images]),
        evaluations=_mean_cost([image.cost_alone[0] for image in images]),
        calls=_mean_cost([image.cost_alone[1] for image in images]),
        devices=tuple(sorted({image.device for image in images if image.device})),
        made_on=_made_on(attempts),
        machines=_machines(attempts),
        cut=sum(image.cut for image in images),
    )


def _sealed(
    images: Sequence[ImageRecord], seal: Seal, scores: Mapping[str, Score]
) -> frozenset[str]:
    """The ids of the sealed images. While a run is extended it has others, which only the scores of
    single images tell from them.
    """
    measured = (of.per_example for of in scores.values() if len(of.per_example or {}) == of.n)
    known = next(measured, None) if len(images) > seal.n else None
    return frozenset(image.id for image in images) if known is None else frozenset(known)


def _made_on(attempts: Sequence[AttemptRecord]) -> tuple[str, ...]:
    """The devices of the processes that made images, and whether these compiled the network."""
    described = {
        f"{attempt.device} ({attempt.device_name}){', compiled' if attempt.compile else ''}"
        for attempt in attempts
    }
    return tuple(sorted(described))


def _machines(attempts: Sequence[AttemptRecord]) -> tuple[str, ...]:
    """The hardware and settings of the processes that made images."""
    described = {
        f"{attempt.device} ({attempt.device_name}), {attempt.threads} threads, batches of "
        f"{attempt.batch_size}{', compiled' if attempt.compile else ''}"
        for attempt in attempts
    }
    return tuple(sorted(described))


def _mean_cost(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(costs) else None


def load_undamaged(run: Run) -> RunResult | None:
    """The result of a run, or None if it is not sealed or has lost images, which is logged.

    Raises UserError for a score that is not finite.
    """
    try:
        return load_result(run)
    except DamagedFileError as error:
        log.warning("left out: %s", error)
        return None


def load_finished(run: Run) -> RunResult:
    """The result of a run that must be sealed. Raises UserError if it is not."""
    found = load_result(run)
    if found is None:
        raise UserError(f"run {run.id} is not finished; its `sde-edit run` command goes on with it")
    return found


def check_same_examples(runs: Sequence[RunResult], role: str) -> None:
    """role: what the runs do together. Raises UserError if they hold different examples."""
    if len({run.examples for run in runs}) > 1:
        who = ", ".join(f"{run.id} ({run.n} images)" for run in runs)
        raise UserError(
            f"runs {who} {role} and hold different examples: finish those that have fewer, with "
            "the data.limit of the others, or make the table in a paths.results of its own"
        )


def _check_finite(score: Score, run: Run) -> None:
    numbers = (score.value, score.low, score.high, score.tolerance, *score.replicates)
    if not all(map(math.isfinite, numbers)):
        raise UserError(
            f"run {run.id}: {score.metric} is not finite (value {score.value}, interval "
            f"{score.low} to {score.high}). Look at {run.path}, then remove its file of this "
            f"metric in metrics/ and evaluate again"
        )
