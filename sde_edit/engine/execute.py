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
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sde_edit.api.example import Example
from sde_edit.api.model import Model
from sde_edit.api.preparation import Prepared
from sde_edit.api.sampler import MadeElsewhere
from sde_edit.api.spec import Choice
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.engine.external import bring_in
from sde_edit.engine.memory import Chunks
from sde_edit.engine.output import Made, Making, Out, joined
from sde_edit.engine.plan import check_examples
from sde_edit.engine.prepare import prepare
from sde_edit.engine.progress import Progress
from sde_edit.errors import NotFiniteError, UserError

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment


class ModelCache:
    """Keeps the last loaded model, so that the runs of one sweep load it once."""

    def __init__(self) -> None:
        self._key: tuple[Choice, str, str, bool] | None = None
        self._model: Model | None = None

    def get(self, experiment: Experiment, device: str) -> Model:
        spec, compiled = experiment.spec, experiment.settings.compile
        key = (spec.model, device, spec.dtype, compiled)
        if self._model is None or self._key != key:
            self._model = None  # free the old weights before the new ones come
            self._model = experiment.source.load(device, spec.dtype, compiled)
            self._key = key
        return self._model


def execute(makings: Sequence[Making], models: ModelCache) -> None:
    """Make the images of a shard that are missing: of one run, or of several that differ in
    task.t_0 alone and share the way up.

    Raises UserError before any network evaluation for what can be known by then.
    """
    experiment, device = makings[0].experiment, makings[0].attempt.device
    if isinstance(experiment.sampler, MadeElsewhere):
        for making in makings:
            bring_in(making, experiment.sampler)
        return
    grid = experiment.source.schedule().grid(
        experiment.spec.steps, experiment.spec.spacing, experiment.spec.last_sigma
    )
    check_examples(experiment, [i for batch in _pending(makings) for i in batch])
    model = models.get(experiment, device)
    with torch.inference_mode():
        _edit_all(makings, model, grid)


def _edit_all(makings: Sequence[Making], model: Model, grid: Grid) -> None:
    first = makings[0]
    experiment, spec = first.experiment, first.experiment.spec
    label = f"{spec.task.name} {spec.sampler.name} {spec.steps} steps"
    label += f", {len(makings)} t_0" if len(makings) > 1 else ""
    total = sum(len(making.todo.missing) for making in makings)
    progress = Progress(label, model, total, sum(making.evaluations for making in makings))
    chunks = Chunks(experiment, first.attempt.device, spec.task.kind)
    with (
        ExitStack() as stack,  # the writers outlive the pool, whose last writes need them
        ThreadPoolExecutor(experiment.settings.loaders) as pool,
        progress.shown(),
    ):
        outs = [Out(making, stack.enter_context(making.writer()), pool) for making in makings]
        start = time.perf_counter()
        for examples in _read_ahead(experiment, _pending(makings), pool):
            wanting = [out for out in outs if out.wants(examples)]
            edit = partial(_edit, [out.making for out in wanting], model, chunks, grid, progress)
            made = joined(chunks.map(examples, edit))
            now = time.perf_counter()
            # reading and writing count too; what `aside` was spent on serves other runs as well
            stretch = (now - start - made[0].aside) / sum(one.seconds for one in made)
            start = now
            for out, one in zip(wanting, made, strict=True):
                progress.add(out.write(examples, replace(one, seconds=stretch * one.seconds)))
        for out in outs:
            out.finish()


def _pending(makings: Sequence[Making]) -> list[tuple[str, ...]]:
    """The batches of which a run still misses something; runs made together are cut alike."""
    missing = frozenset().union(*(making.todo.missing for making in makings))
    return [batch for batch in makings[0].todo.batches if missing.intersection(batch)]


def _edit(
    makings: Sequence[Making],
    model: Model,
    chunks: Chunks,
    grid: Grid,
    progress: Progress,
    examples: Sequence[Example],
) -> list[Made]:
    """The images of each run. Shared costs are split equally; preparations, which serve further
    runs as well, are not counted.
    """
    model.rows_at_once = chunks.size
    noise = Noise(makings[0].experiment.spec.seed, tuple(example.id for example in examples))
    try:
        start = time.perf_counter()
        prepared: dict[str, Sequence[Any]] = {}
        for preparation in makings[0].experiment.task.preparations:
            with progress.aside(preparation.label):
                results = prepare(preparation, makings, model, grid, examples)
            prepared[preparation.name] = results
        meter = Meter(model)
        aside = time.perf_counter() - start
        edits = _edits(makings, examples, model, grid, noise, prepared)
        shared = meter.lap()
        edited = [(edit(), meter.lap()) for edit in edits]
    except NotFiniteError as error:
        broken = ", ".join(examples[row].id for row in error.rows)
        raise UserError(f"{broken}: {error}") from error
    part = [cost / len(makings) for cost in shared]
    every = (Made(made, *map(operator.add, own, part)) for made, own in edited)
    return [replace(made, aside=aside) for made in every]


def _edits(
    makings: Sequence[Making],
    examples: Sequence[Example],
    model: Model,
    grid: Grid,
    noise: Noise,
    prepared: Prepared,
) -> Sequence[Callable[[], Tensor]]:
    experiment = makings[0].experiment
    task, sampler = experiment.task, experiment.sampler
    assert not isinstance(sampler, MadeElsewhere)
    if len(makings) == 1:
        return [lambda: task.edit(examples, model, sampler, grid, noise, prepared)]
    t_0 = [making.experiment.task.t_0 for making in makings]
    return task.edit_many(t_0, examples, model, sampler, grid, noise, prepared)


class Meter:
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
