"""Edits the missing images of runs with a network and stores them.

Threads read examples ahead and write PNGs while this thread keeps the network busy. Batches are cut
from the full list of ids, never from the missing ones or from a shard's part, so a resumed or
sharded run computes its images in the same batches as an undisturbed one and gets the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache, partial
from itertools import chain, islice, tee
from typing import TYPE_CHECKING, Any

import torch

from sde_edit.api.example import Example
from sde_edit.api.model import Model
from sde_edit.api.observer import Observer
from sde_edit.api.preparation import Prepared
from sde_edit.api.sampler import Sampler
from sde_edit.api.spec import ComponentSpec, RunSpec
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.engine.memory import AdaptiveBatcher
from sde_edit.engine.output import ActiveRun, Cost, EditedBatch, RunWriter, concatenate
from sde_edit.engine.prepare import prepare
from sde_edit.engine.progress import Progress
from sde_edit.engine.shared_encoding import edit_key
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
    for active in active_runs:
        active.experiment.task.check_model(model)
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
    kinds = "+".join(sorted({active.experiment.spec.task.kind for active in active_runs}))

    @cache
    def batcher_of(size: tuple[int, int]) -> AdaptiveBatcher:
        return AdaptiveBatcher(experiment, device, kinds, size)

    progress = _progress(active_runs, model)
    with progress.shown():
        start = time.perf_counter()
        claimed = (one for batches in work.rounds() for one in _examples(experiment, batches))
        for batch, examples in claimed:
            wanting = [writers[k] for k in batch.runs]
            wanted = [writer.active for writer in wanting]
            batcher = batcher_of(examples[0].image.shape[:2])
            edit = partial(_edit, wanted, sampler, model, grid, progress)
            edited = concatenate(batcher.map(examples, edit))
            now = time.perf_counter()
            # Reading and writing count as well; preparations do not, as they serve other runs too.
            scale = (now - start - edited[0].uncounted) / sum(one.spent.seconds for one in edited)
            start = now
            for writer, one in zip(wanting, edited, strict=True):
                progress.add(writer.write(examples, one.in_seconds(scale * one.spent.seconds)))


def _progress(active_runs: Sequence[ActiveRun], model: Model) -> Progress:
    spec = active_runs[0].experiment.spec
    label = f"{spec.task.name} {spec.sampler.name} {spec.steps} steps"
    label += f", {len(active_runs)} runs" if len(active_runs) > 1 else ""
    images = sum(len(active.plan.missing) for active in active_runs)
    return Progress(label, model, images, sum(active.evaluations for active in active_runs))


def _edit(
    active_runs: Sequence[ActiveRun],
    sampler: Sampler,
    model: Model,
    grid: Grid,
    progress: Progress,
    examples: Sequence[Example],
) -> list[EditedBatch]:
    """Edit examples of one size for each run. Runs that share an encoding share its cost.

    The border of images whose sides are no multiples of the model's factor is repeated up to the
    next multiple, and cut off the results again: points and masks keep their places. Preparations
    such as masks and LoRAs are not counted: later runs use them as well.
    """
    height, width = examples[0].image.shape[:2]
    examples = [extended(example, model.factor or 1) for example in examples]
    noise = Noise(active_runs[0].experiment.spec.seed, tuple(example.id for example in examples))
    try:
        start = time.perf_counter()
        given = [_prepared(active, model, grid, progress, examples) for active in active_runs]
        meter = CostMeter(model)
        uncounted = time.perf_counter() - start
        edits = _edits(active_runs, examples, model, sampler, grid, noise, given)
        up = meter.lap()
        down = {key: (edit()[:, :height, :width], meter.lap()) for key, edit in edits.items()}
    except NotFiniteError as error:
        broken = ", ".join(examples[row].id for row in error.rows)
        remedy = _remedy(active_runs[0].experiment.spec)
        raise UserError(f"{broken}: {error}: {remedy}") from error
    steps_up = [grid.truncated(active.experiment.task.t_0).steps for active in active_runs]
    keys = [edit_key(active.experiment) for active in active_runs]
    return [
        EditedBatch(
            images=down[key][0],
            spent=down[key][1] / keys.count(key) + up / len(keys),
            alone=down[key][1] + up / (max(steps_up) / steps),
            uncounted=uncounted,
        )
        for key, steps in zip(keys, steps_up, strict=True)
    ]


def _remedy(spec: RunSpec) -> str:
    """The settings of a run that may keep its values finite."""
    exact = ["dtype=bfloat16 or dtype=float32"] if spec.dtype == "float16" else []
    guided = [key for key, v in spec.task.params.items() if key.endswith("guidance") and v > 1]
    calmer = [f"a smaller task.{key}" for key in guided] or ["more steps or another sampler"]
    return f"use {', or '.join([*exact, *calmer])}"


def _prepared(
    active: ActiveRun,
    model: Model,
    grid: Grid,
    progress: Progress,
    examples: Sequence[Example],
) -> Prepared:
    """The results of the task's preparations, by name."""
    results: dict[str, Sequence[Any]] = {}
    for preparation in active.experiment.task.preparations:
        model.observer.preparing(preparation.label)
        with progress.uncounted(preparation.label):
            results[preparation.name] = prepare(preparation, active, model, grid, examples)
        model.observer.preparing("")
    return results


def _edits(
    active_runs: Sequence[ActiveRun],
    examples: Sequence[Example],
    model: Model,
    sampler: Sampler,
    grid: Grid,
    noise: Noise,
    given: Sequence[Prepared],
) -> dict[str, Callable[[], Tensor]]:
    """For each different edit a function that returns its images; several have one encoding.

    given: what is prepared for each run.
    """
    tasks = {edit_key(active.experiment): active.experiment.task for active in active_runs}
    prepared = {edit_key(a.experiment): one for a, one in zip(active_runs, given, strict=True)}
    if len(tasks) == 1:
        ((key, task),) = tasks.items()
        return {key: lambda: task.edit(examples, model, sampler, grid, noise, prepared[key])}
    encoding = next(iter(tasks.values())).encoding
    assert encoding is not None
    longest = grid.truncated(max(task.t_0 for task in tasks.values()))
    inversion = encoding(examples, model, sampler, longest, noise)

    def edit(key: str) -> Tensor:
        task = tasks[key]
        part = grid.truncated(task.t_0)
        own = inversion.tail(longest.steps - part.steps)
        return task.edit_from(own, examples, model, sampler, part, noise, prepared[key])

    return {key: partial(edit, key) for key in tasks}


class CostMeter:
    """Measures costs from lap to lap."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._last = self._read()

    def _read(self) -> Cost:
        if self._model.device.type == "cuda":
            torch.cuda.synchronize(self._model.device)
        return Cost(time.perf_counter(), self._model.evaluations, self._model.calls)

    def lap(self) -> Cost:
        """The cost since the last lap."""
        last, self._last = self._last, self._read()
        return self._last - last


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
