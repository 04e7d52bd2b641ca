"""What an experiment lacks, what that costs, and whether its examples can be edited at all."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tqdm import tqdm

from sde_edit.api.sampler import ExternalOutputs
from sde_edit.api.task import CostsByExample, FitsLora, SharesWayUp
from sde_edit.engine.progress import MININTERVAL
from sde_edit.errors import UserError
from sde_edit.store.runs import Run, batched, rows_digest

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment


@dataclass(frozen=True)
class Plan:
    """What an experiment wants and what of it is missing."""

    ids: tuple[str, ...]  # all that the run shall hold, limit applied
    of: int  # that the data set has
    batches: tuple[tuple[str, ...], ...]  # this shard's: every n-th of the run's batches
    missing: frozenset[str]  # of this shard


def plan_run(experiment: Experiment, run: Run | None) -> Plan:
    """What is missing of an experiment; reads the store and the data set's ids only."""
    settings = experiment.settings
    every = list(experiment.dataset.ids())
    ids = tuple(every[: settings.limit])
    batches = tuple(tuple(batch) for batch in batched(ids, settings.batch_size))
    mine = batches[settings.shard :: settings.shards]
    done = run.rows() if run else {}
    missing = frozenset(i for batch in mine for i in batch if i not in done)
    return Plan(ids, len(every) + experiment.excluded, mine, missing)


def evaluations(experiment: Experiment, ids: Sequence[str], *, counts_encoding: bool = True) -> int:
    """Rows of the network that these images cost, where a task can say it beforehand; LoRAs and
    masks that come first are not counted. Without the way up, if another run goes it for this one
    too. Raises UserError for an example with a mistake.
    """
    task, sampler, steps = experiment.task, experiment.sampler, experiment.spec.steps
    if isinstance(sampler, ExternalOutputs) or not ids:
        return 0
    if not isinstance(task, CostsByExample):
        each = task.evaluations_per_image(steps)
        if isinstance(task, SharesWayUp) and not counts_encoding:
            each -= task.evaluations_up(steps)
        return sampler.evaluations_per_step * each * len(ids)
    size = _latent_size(experiment)

    def one(example_id: str) -> int:
        example = experiment.dataset.load(example_id)
        task.check(example)
        return task.evaluations_of(example, steps, size)

    with ThreadPoolExecutor(experiment.settings.loaders) as pool:
        return sampler.evaluations_per_step * sum(pool.map(one, ids))


def notices(experiment: Experiment) -> list[str]:
    """What there is to say of an experiment before its images are made, a message each."""
    task, said = experiment.task, []
    if isinstance(experiment.sampler, ExternalOutputs):
        return []
    if isinstance(task, FitsLora) and task.lora:
        steps = task.lora.steps
        said.append(f"first a LoRA of {steps} steps for each image that has none, not counted")
    if isinstance(task, CostsByExample):
        said.append(task.follows(_latent_size(experiment)))
    return [text for text in said if text]


def _latent_size(experiment: Experiment) -> tuple[int, int]:
    _, height, width = experiment.source.latent_shape
    return height, width


def is_sealed(run: Run, plan: Plan) -> bool:
    """Whether the seal covers the images wanted, as they are now."""
    seal, rows = run.seal, run.rows()
    if seal is None or seal.n < len(plan.ids) or not rows.keys() >= set(plan.ids):
        return False
    return seal.n > len(plan.ids) or seal.digest == rows_digest(rows[i] for i in plan.ids)


def seal_if_complete(run: Run, plan: Plan) -> None:
    """Seal what is there if that is all. A seal of more images than are wanted stays."""
    if not is_sealed(run, plan) and run.rows().keys() >= set(plan.ids):
        run.write_seal(plan.ids, of=plan.of)


def check_examples(experiment: Experiment, ids: Sequence[str]) -> None:
    """Decode everything once and let task and model, or images made elsewhere, refuse it by name
    (UserError).
    """
    resolution, sampler = experiment.source.resolution, experiment.sampler

    def check(example_id: str) -> None:
        example = experiment.dataset.load(example_id)
        experiment.task.check(example)
        if isinstance(sampler, ExternalOutputs):
            sampler.read(example)
        elif example.image.shape != (resolution, resolution, 3):
            raise UserError(
                f"{example_id}: image of {example.image.shape[1]}x{example.image.shape[0]} pixels, "
                f"but model={experiment.spec.model.name} works at {resolution}x{resolution}: "
                f"for images in files set data.resolution={resolution} and data.fit=crop; "
                "data=shapes and data=shapes-edits go with model=shapes"
            )

    with ThreadPoolExecutor(experiment.settings.loaders) as pool:
        done = pool.map(check, ids)
        list(
            tqdm(done, "check", len(ids), unit="img", leave=False, delay=2, mininterval=MININTERVAL)
        )
