"""Plan what is missing, batch, edit, store.

Reading examples, the network, and writing PNGs overlap: a pool of threads reads ahead and writes
behind while this thread keeps the network busy. Batches are cut from the full list of ids, never
from what happens to be missing or from a shard's part, so a resumed or sharded run computes its
images in the very batches of an undisturbed one and gets the same bits.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sde_edit.api.example import Example
from sde_edit.api.model import Model
from sde_edit.api.sampler import ExternalOutputs
from sde_edit.api.spec import ComponentSpec
from sde_edit.api.task import SharesWayUp
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.engine.external import import_outputs
from sde_edit.engine.memory import AdaptiveBatcher
from sde_edit.engine.output import ActiveRun, EditedBatch, RunWriter, concatenate
from sde_edit.engine.plan import check_examples
from sde_edit.engine.prepare import find_masks_of, fit_loras
from sde_edit.engine.progress import Progress
from sde_edit.errors import NotFiniteError, UserError

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment


class ModelCache:
    """Keeps the last loaded model, so that the runs of one sweep load it once."""

    def __init__(self) -> None:
        self._key: tuple[ComponentSpec, str, str, bool] | None = None
        self._model: Model | None = None

    def get(self, experiment: Experiment, device: str) -> Model:
        spec, compiled = experiment.spec, experiment.settings.compile
        key = (spec.model, device, spec.dtype, compiled)
        if self._model is None or self._key != key:
            self._model = None  # free the old weights before the new ones come
            self._model = experiment.source.load(device, spec.dtype, compiled)
            self._key = key
        return self._model


def execute(active_runs: Sequence[ActiveRun], models: ModelCache) -> None:
    """Make the images of a shard that are missing: of one run, or of several that differ in
    task.t_0 alone and share the way up.

    Raises UserError before any network evaluation for what can be known by then.
    """
    experiment, device = active_runs[0].experiment, active_runs[0].attempt.device
    if isinstance(experiment.sampler, ExternalOutputs):
        for active in active_runs:
            import_outputs(active, experiment.sampler)
        return
    grid = experiment.source.schedule().grid(
        experiment.spec.steps, experiment.spec.spacing, experiment.spec.last_sigma
    )
    check_examples(experiment, [i for batch in _pending(active_runs) for i in batch])
    model = models.get(experiment, device)
    with torch.inference_mode():
        _edit_all(active_runs, model, grid)


def _edit_all(active_runs: Sequence[ActiveRun], model: Model, grid: Grid) -> None:
    first = active_runs[0]
    experiment, spec = first.experiment, first.experiment.spec
    label = f"{spec.task.name} {spec.sampler.name} {spec.steps} steps"
    label += f", {len(active_runs)} t_0" if len(active_runs) > 1 else ""
    total = sum(len(active.plan.missing) for active in active_runs)
    progress = Progress(label, model, total, sum(active.evaluations for active in active_runs))
    chunks = AdaptiveBatcher(experiment, first.attempt.device, spec.task.kind)
    with (
        ExitStack() as stack,  # the writers outlive the pool, whose last writes need them
        ThreadPoolExecutor(experiment.settings.loaders) as pool,
        progress.shown(),
    ):
        outs = [
            RunWriter(active, stack.enter_context(active.writer()), pool) for active in active_runs
        ]
        start = time.perf_counter()
        for examples in _read_ahead(experiment, _pending(active_runs), pool):
            wanting = [out for out in outs if out.wants(examples)]
            edit = partial(_edit, [out.active for out in wanting], model, chunks, grid, progress)
            made = concatenate(chunks.map(examples, edit))
            now = time.perf_counter()
            # reading and writing count too; what `uncounted` was spent on serves other runs as well
            stretch = (now - start - made[0].uncounted) / sum(one.seconds for one in made)
            start = now
            for out, one in zip(wanting, made, strict=True):
                progress.add(out.write(examples, replace(one, seconds=stretch * one.seconds)))
        for out in outs:
            out.finish()


def _pending(active_runs: Sequence[ActiveRun]) -> list[tuple[str, ...]]:
    """The batches of which a run still misses something; runs made together are cut alike."""
    missing = frozenset().union(*(active.plan.missing for active in active_runs))
    return [batch for batch in active_runs[0].plan.batches if missing.intersection(batch)]


def _edit(
    active_runs: Sequence[ActiveRun],
    model: Model,
    chunks: AdaptiveBatcher,
    grid: Grid,
    progress: Progress,
    examples: Sequence[Example],
) -> list[EditedBatch]:
    """The images of each run. What they share counts in equal parts; masks to be found and LoRAs to
    be fitted, which are there for further runs as well, do not count.
    """
    model.rows_at_once = chunks.size
    noise = Noise(active_runs[0].experiment.spec.seed, tuple(example.id for example in examples))
    try:
        start = time.perf_counter()
        with progress.uncounted("masks"):
            with_masks = find_masks_of(active_runs, model, grid, noise, examples)
        with progress.uncounted("LoRA"):
            prepared = fit_loras(active_runs[0], model, with_masks)
        meter = CostMeter(model)
        uncounted = time.perf_counter() - start
        edits = _edits(active_runs, prepared, model, grid, noise)
        shared = meter.lap()
        edited = [(edit(), meter.lap()) for edit in edits]
    except NotFiniteError as error:
        broken = ", ".join(examples[row].id for row in error.rows)
        raise UserError(f"{broken}: {error}") from error
    part = [cost / len(active_runs) for cost in shared]
    every = (EditedBatch(made, *map(operator.add, own, part)) for made, own in edited)
    return [replace(made, uncounted=uncounted) for made in every]


def _edits(
    active_runs: Sequence[ActiveRun],
    examples: Sequence[Example],
    model: Model,
    grid: Grid,
    noise: Noise,
) -> Sequence[Callable[[], Tensor]]:
    experiment = active_runs[0].experiment
    task, sampler = experiment.task, experiment.sampler
    assert not isinstance(sampler, ExternalOutputs)
    if len(active_runs) == 1:
        return [lambda: task.edit(examples, model, sampler, grid, noise)]
    assert isinstance(task, SharesWayUp)
    tasks = (active.experiment.task for active in active_runs)
    t_0 = [other.t_0 for other in tasks if isinstance(other, SharesWayUp)]
    return task.edits(t_0, examples, model, sampler, grid, noise)


class CostMeter:
    """Seconds, evaluations and calls of a model since the last lap."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._last = self._read()

    def _read(self) -> tuple[float, int, int]:
        if self._model.device.type == "cuda":
            torch.cuda.synchronize(self._model.device)
        return time.perf_counter(), self._model.evaluations, self._model.calls

    def lap(self) -> tuple[float, float, float]:
        last, self._last = self._last, self._read()
        seconds, evaluations, calls = map(operator.sub, self._last, last)
        return seconds, evaluations, calls


def _read_ahead(
    experiment: Experiment, batches: Sequence[Sequence[str]], pool: ThreadPoolExecutor
) -> Iterator[list[Example]]:
    """The examples of each batch, one batch read while the one before is at work."""
    load = experiment.dataset.load
    ahead = [pool.submit(load, example_id) for example_id in batches[0]]
    for following in [*batches[1:], ()]:
        current, ahead = ahead, []
        examples = [future.result() for future in current]
        ahead = [pool.submit(load, example_id) for example_id in following]
        yield examples
