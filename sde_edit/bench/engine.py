"""Times the engine, and preparations such as LoRAs apart from it."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sde_edit.api.observer import Observer
from sde_edit.engine.attempt import Attempt, pick_device
from sde_edit.engine.execute import CostMeter, ModelCache
from sde_edit.engine.memory import remembered_sizes
from sde_edit.engine.output import ActiveRun
from sde_edit.engine.plan import Plan, plan_run
from sde_edit.engine.producer import inspect_missing, producer_of
from sde_edit.store.runs import RunStore, batched

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment
    from sde_edit.api.model import Model


class _Preparing(Observer):
    """Measures preparations: seconds by what is prepared, and the cost of all of them."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.reset()

    def reset(self) -> None:
        self.seconds: dict[str, float] = {}
        self.evaluations, self.calls = 0.0, 0.0

    def preparing(self, what: str) -> None:
        if what:
            self._what, self._meter = what, CostMeter(self._model)
            return
        cost = self._meter.lap()
        self.seconds[self._what] = self.seconds.get(self._what, 0.0) + cost.seconds
        self.evaluations += cost.evaluations
        self.calls += cost.calls


class TimedEngine:
    """Runs an experiment repeatedly with one loaded model, each time into a new folder."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.ids = tuple(experiment.dataset.ids())
        self.images = len(self.ids)
        self._models = ModelCache()
        self._passes = 0
        self.device = pick_device(experiment.settings.device)
        self.model = self._models.get(experiment, self.device)
        self.model.observer = self._preparing = _Preparing(self.model)
        self.preparations: dict[str, float] = {}  # name -> seconds per image

    def warm_up(self) -> float:
        """Edit one batch of each size that a pass contains; return the seconds.

        Their preparations are forgotten: the first timed pass makes those of all images.
        """
        sizes = {len(batch): batch for batch in self._batches()}
        seconds = self._pass(tuple(sizes.values()))
        for preparation in self.experiment.task.preparations:
            shutil.rmtree(self.experiment.settings.cache / preparation.name)
        if self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(self.device)
        return seconds

    def timed(self) -> float:
        """Seconds per image of one pass over all images; also counts evaluations and calls.

        None of them holds preparations, whose seconds per image the first pass measures.
        """
        self._preparing.reset()
        evaluations, calls = self.model.evaluations, self.model.calls
        seconds = self._pass(None)
        prepared = self._preparing
        self.evaluations = self.model.evaluations - evaluations - prepared.evaluations
        self.calls = self.model.calls - calls - prepared.calls
        if not self.preparations:
            names = {p.label: p.name for p in self.experiment.task.preparations}
            each = prepared.seconds.items()
            self.preparations = {names[label]: total / self.images for label, total in each}
        return (seconds - sum(prepared.seconds.values())) / self.images

    def _batches(self) -> list[tuple[str, ...]]:
        size = self.experiment.settings.batch_size
        return [tuple(batch) for batch in batched(self.ids, size)]

    @property
    def at_once(self) -> int:
        """Images edited at once: the batch size, or less if memory made the engine halve it."""
        settings = self.experiment.settings
        known = remembered_sizes(settings.cache / "chunks.json")
        work = self.experiment.spec.task.kind  # preparations are halved on their own
        halved = [size for key, size in known.items() if key.split()[-2] == work]
        return min(settings.batch_size, self.images, *halved)

    @property
    def rows_per_call(self) -> int:
        """Rows of an average network call for a full batch."""
        chunks = sum(math.ceil(len(batch) / self.at_once) for batch in self._batches())
        rows = self.at_once * self.evaluations / self.images / (self.calls / chunks)
        return max(1, round(rows))

    def _pass(self, only: tuple[tuple[str, ...], ...] | None) -> float:
        """Run into a new folder, then delete it; return the seconds of the run."""
        experiment, folder = self.experiment, self._folder()

        def run_all() -> None:
            run = RunStore(folder).open(experiment.spec)
            plan = plan_run(experiment, run)
            if only is not None:
                plan = _part(plan, only)
            (outlook,) = inspect_missing([(experiment, plan)], scored=False)
            cost = outlook.evaluations
            with Attempt(experiment, run, plan) as attempt:
                active = ActiveRun(experiment, run, plan, cost, attempt, lambda *_: None)
                producer_of(experiment).make([active], self._models)

        seconds = wall_seconds(run_all, self.device)
        shutil.rmtree(folder)
        return seconds

    def _folder(self) -> Path:
        self._passes += 1
        return self.experiment.settings.results / str(self._passes)


def _part(plan: Plan, batches: tuple[tuple[str, ...], ...]) -> Plan:
    return replace(plan, batches=batches, missing=frozenset(i for b in batches for i in b))


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()


def wall_seconds(work: Callable[[], object], device: str) -> float:
    """Wall seconds of `work`, including what it started on the device."""
    _synchronise(device)
    start = time.perf_counter()
    work()
    _synchronise(device)
    return time.perf_counter() - start


def peak_memory(device: str) -> tuple[int, str]:
    """Peak bytes and what they measure: tensors on CUDA, else the process since its start."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device), "torch.cuda.max_memory_allocated"
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return peak, "peak resident set of the process"
