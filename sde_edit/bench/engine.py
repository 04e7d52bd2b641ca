"""Times the engine on synthetic examples."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from sde_edit.api.dataset import DataStatus
from sde_edit.api.example import Example
from sde_edit.engine.attempt import Attempt, pick_device
from sde_edit.engine.execute import ModelCache
from sde_edit.engine.memory import remembered_sizes
from sde_edit.engine.output import ActiveRun
from sde_edit.engine.plan import Plan, plan_run
from sde_edit.engine.producer import inspect_missing, producer_of
from sde_edit.errors import UserError
from sde_edit.networks.latent_diffusion import LoadedStableDiffusion
from sde_edit.store.runs import RunStore, batched

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment

DISTINCT = 16  # synthetic images made; more examples repeat them


# ------------------------------------------------------------------ synthetic examples
@dataclass(frozen=True)
class Synthetic:
    """Examples held in memory: smooth random images, each with one half hidden."""

    examples: Mapping[str, Example]

    def ids(self) -> Sequence[str]:
        return tuple(self.examples)

    def load(self, example_id: str) -> Example:
        return self.examples[example_id]

    def status(self) -> DataStatus:
        return DataStatus(len(self.examples))

    def digest(self) -> str:
        return "synthetic"


def on_synthetic_data(experiment: Experiment, images: int, folder: Path) -> Experiment:
    """The experiment, unsharded and unlimited, on synthetic examples in a temporary folder."""
    distinct = [_example(i, experiment.source.resolution) for i in range(min(images, DISTINCT))]
    ids = [f"bench-{i:06d}" for i in range(images)]
    examples = {name: replace(distinct[i % DISTINCT], id=name) for i, name in enumerate(ids)}
    settings = replace(
        experiment.settings,
        results=folder,
        cache=folder / "cache",
        limit=None,
        shard=0,
        shards=1,
    )
    return replace(experiment, dataset=Synthetic(examples), settings=settings)


def _example(seed: int, side: int) -> Example:
    """A random 4x4 picture, enlarged to side x side, with a hidden band of half its height."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    mask = np.zeros((side, side), np.float32)
    top = int(rng.integers(0, side // 2 + 1))
    mask[top : top + side // 2] = 1
    return Example("", image, "a quiet street", mask, image)


# ------------------------------------------------------------------ the engine
class TimedEngine:
    """Runs an experiment repeatedly with one loaded model, each time into a new folder."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.ids = tuple(experiment.dataset.ids())
        self.images = len(self.ids)
        self._models = ModelCache()
        self._passes = 0
        self.device = pick_device(experiment.settings.device)
        model = self._models.get(experiment, self.device)
        if not isinstance(model, LoadedStableDiffusion):
            raise UserError(f"bench knows no bare network of model={experiment.spec.model.name}")
        self.model = model

    def warm_up(self) -> float:
        """Edit one batch of each size that a pass contains; return the seconds."""
        sizes = {len(batch): batch for batch in self._batches()}
        seconds = self._pass(tuple(sizes.values()))
        if self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(self.device)
        return seconds

    def timed(self) -> float:
        """Seconds per image of one pass over all images; also counts evaluations and calls."""
        evaluations, calls = self.model.evaluations, self.model.calls
        seconds = self._pass(None)
        self.evaluations = self.model.evaluations - evaluations
        self.calls = self.model.calls - calls
        return seconds / self.images

    def _batches(self) -> list[tuple[str, ...]]:
        size = self.experiment.settings.batch_size
        return [tuple(batch) for batch in batched(self.ids, size)]

    @property
    def at_once(self) -> int:
        """Images edited at once: the batch size, or less if memory made the engine halve it."""
        settings = self.experiment.settings
        halved = remembered_sizes(settings.cache / "chunks.json").values()
        return min(settings.batch_size, self.images, *halved)

    @property
    def rows_per_call(self) -> int:
        """Rows per network call for a full batch."""
        chunks = sum(math.ceil(len(batch) / self.at_once) for batch in self._batches())
        return round(self.at_once * self.evaluations / self.images / (self.calls / chunks))

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
