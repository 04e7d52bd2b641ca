"""Edits the missing images of runs with a network and stores them.

Threads read examples ahead and write PNGs while this thread keeps the network busy. Batches are cut
from the full list of ids, never from the missing ones or from a shard's part, so a resumed or
sharded run computes its images in the same batches as an undisturbed one and gets the same bits.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from itertools import chain, islice, tee
from typing import TYPE_CHECKING, Any

import torch

from sde_edit.api.example import Example
from sde_edit.api.model import Model
from sde_edit.api.observer import Observer
from sde_edit.api.preparation import Prepared
from sde_edit.api.sampler import Sampler
from sde_edit.api.spec import ComponentSpec
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.engine.memory import AdaptiveBatcher
from sde_edit.engine.output import ActiveRun, EditedBatch, RunWriter, concatenate
from sde_edit.engine.prepare import prepare
from sde_edit.engine.progress import Progress
from sde_edit.engine.shared_work import ClaimedBatch, SharedWork
from sde_edit.errors import NotFiniteError, UserError
from sde_edit.imaging.fit import extended
from sde_edit.imaging.prefetch import prefetch
from sde_edit.networks.base import check_compiler, keep_compiled
from sde_edit.store.leases import Leases

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.api.experiment import Experiment


class ModelCache:
    """Keeps the last loaded model, so that consecutive runs of one model load it once.

    observer: of all models that it loads.
    """

    def __init__(self, observer: Observer | None = None) -> None:
        self._observer = observer or Observer()
        self._key: tuple[ComponentSpec, str, str, bool] | None = None
        self._model: Model | None = None

    def get(self, experiment: Experiment, device: str) -> Model:
        spec, compiled = experiment.spec, experiment.settings.compile
        key = (spec.model, device, spec.dtype, compiled)
        if self._model is None or self._key != key:
            if compiled:
                check_compiler(torch.device(device))
                keep_compiled(experiment.settings.cache)
            self._model = None  # free the old weights before loading the new ones
            self._model = experiment.source.load(device, spec.dtype, compiled)
            self._model.observer = self._observer
            self._key = key
        return self._model


def execute(active_runs: Sequence[ActiveRun], sampler: Sampler, models: ModelCache) -> None:
    """Make the missing images of one run, or of several that share their encoding.

    Expects checked examples. Raises UserError for a grid or a model that cannot be used, and for an
    image that is not finite.
    """
    experiment = active_runs[0].experiment
    grid = experiment.source.schedule().grid(
        experiment.spec.steps, experiment.spec.spacing, experiment.spec.last_sigma
    )
    model = models.get(experiment, active_runs[0].attempt.device)
    experiment.task.check_model(model)
    with (
        torch.inference_mode(),
        ExitStack() as stack,  # closes the writers after the pool, whose last writes need them
        ThreadPoolExecutor(experiment.settings.loaders) as pool,
    ):
        leases = [stack.enter_context(Leases(r.run.leases, r.attempt.name)) for r in active_runs]
        writers = [RunWriter(r, stack.enter_context(r.writer()), pool) for r in active_runs]
        _edit_all(writers, SharedWork(active_runs, leases), sampler, model, grid)
        for writer in writers:
            writer.finish()


def _edit_all(
    writers: Sequence[RunWriter], work: SharedWork, sampler: Sampler, model: Model, grid: Grid
) -> None:
    active_runs = [writer.active for writer in writers]
    experiment, device = active_runs[0].experiment, active_runs[0].attempt.device

    @cache
    def batcher_of(size: tuple[int, int]) -> AdaptiveBatcher:
        return AdaptiveBatcher(experiment, device, experiment.spec.task.kind, size)

    progress = _progress(active_runs, model)
    with progress.shown():
        start = time.perf_counter()
        claimed = (one for batches in work.rounds() for one in _examples(experiment, batches))
        for batch, examples in claimed:
            wanting = [writers[k] for k in batch.runs]
            wanted = [writer.active for writer in wanting]
            batcher = batcher_of(examples[0].image.shape[:2])
            edit = partial(_edit, wanted, sampler, model, batcher, grid, progress)
            edited = concatenate(batcher.map(examples, edit))
            now = time.perf_counter()
            # Reading and writing count as well; preparations do not, as they serve other runs too.
            scale = (now - start - edited[0].uncounted) / sum(one.seconds for one in edited)
            start = now
            for writer, one in zip(wanting, edited, strict=True):
                progress.add(writer.write(examples, replace(one, seconds=scale * one.seconds)))


def _progress(active_runs: Sequence[ActiveRun], model: Model) -> Progress:
    spec = active_runs[0].experiment.spec
    label = f"{spec.task.name} {spec.sampler.name} {spec.steps} steps"
    label += f", {len(active_runs)} t_0" if len(active_runs) > 1 else ""
    images = sum(len(active.plan.missing) for active in active_runs)
    return Progress(label, model, images, sum(active.evaluations for active in active_runs))


def _edit(
    active_runs: Sequence[ActiveRun],
    sampler: Sampler,
    model: Model,
    batcher: AdaptiveBatcher,
    grid: Grid,
    progress: Progress,
    examples: Sequence[Example],
) -> list[EditedBatch]:
    """Edit examples of one size for each run. Shared costs are divided equally among the runs.

    The border of images whose sides are no multiples of the model's factor is repeated up to the
    next multiple, and cut off the results again: points and masks keep their places. Preparations
    such as masks and LoRAs are not counted: later runs use them as well.
    """
    height, width = examples[0].image.shape[:2]
    examples = [extended(example, model.factor or 1) for example in examples]
    model.rows_at_once = batcher.size
    noise = Noise(active_runs[0].experiment.spec.seed, tuple(example.id for example in examples))
    try:
        start = time.perf_counter()
        prepared: dict[str, Sequence[Any]] = {}
        for preparation in active_runs[0].experiment.task.preparations:
            model.observer.preparing(preparation.label)
            with progress.uncounted(preparation.label):
                results = prepare(preparation, active_runs, model, grid, examples)
            prepared[preparation.name] = results
            model.observer.preparing("")
        meter = CostMeter(model)
        uncounted = time.perf_counter() - start
        edits = _edits(active_runs, examples, model, sampler, grid, noise, prepared)
        shared = meter.lap()
        edited = [(edit()[:, :height, :width], meter.lap()) for edit in edits]
    except NotFiniteError as error:
        broken = ", ".join(examples[row].id for row in error.rows)
        raise UserError(f"{broken}: {error}") from error
    part = [cost / len(active_runs) for cost in shared]
    batches = (EditedBatch(images, *map(operator.add, own, part)) for images, own in edited)
    return [replace(batch, uncounted=uncounted) for batch in batches]


def _edits(
    active_runs: Sequence[ActiveRun],
    examples: Sequence[Example],
    model: Model,
    sampler: Sampler,
    grid: Grid,
    noise: Noise,
    prepared: Prepared,
) -> Sequence[Callable[[], Tensor]]:
    """For each run a function that returns its images."""
    experiment = active_runs[0].experiment
    task = experiment.task
    if len(active_runs) == 1:
        return [lambda: task.edit(examples, model, sampler, grid, noise, prepared)]
    t_0 = [active.experiment.task.t_0 for active in active_runs]
    return task.edit_many(t_0, examples, model, sampler, grid, noise, prepared)


class CostMeter:
    """Measures seconds, evaluations and network calls from lap to lap."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._last = self._read()

    def _read(self) -> tuple[float, int, int]:
        if self._model.device.type == "cuda":
            torch.cuda.synchronize(self._model.device)
        return time.perf_counter(), self._model.evaluations, self._model.calls

    def lap(self) -> tuple[float, float, float]:
        """(seconds, evaluations, calls) since the last lap."""
        last, self._last = self._last, self._read()
        seconds, evaluations, calls = map(operator.sub, self._last, last)
        return seconds, evaluations, calls


def _examples(
    experiment: Experiment, batches: Iterator[ClaimedBatch]
) -> Iterator[tuple[ClaimedBatch, list[Example]]]:
    """Each batch with its examples; meanwhile at most as many as a full batch are read ahead."""
    load, settings = experiment.dataset.load, experiment.settings
    batches, ahead = tee(batches)
    ids = chain.from_iterable(batch.ids for batch in ahead)
    examples = prefetch(load, ids, workers=settings.loaders, ahead=settings.batch_size)
    for batch in batches:
        yield batch, list(islice(examples, len(batch.ids)))
