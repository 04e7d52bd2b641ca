"""Computes the preparations of a task and caches the results, so that all runs share them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sde_edit.api.example import Example
from sde_edit.api.model import Model
from sde_edit.api.preparation import Preparation
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.engine.memory import AdaptiveBatcher
from sde_edit.engine.output import ActiveRun
from sde_edit.store.files import write_atomic
from sde_edit.store.preparation_cache import PreparationCache


def prepare(
    preparation: Preparation,
    active: ActiveRun,
    model: Model,
    grid: Grid,
    examples: Sequence[Example],
) -> list[Any]:
    """The result of each example, from the cache if it is there. Runs that keep results get copies.

    Raises UserError if the model cannot be used for this preparation.
    """
    experiment = active.experiment
    spec, device = experiment.spec, active.attempt.device
    preparation.check(model, spec)
    cache = PreparationCache(experiment.settings.cache, spec, preparation)

    def compute(some: Sequence[Example]) -> Sequence[bytes]:
        noise = Noise(spec.seed, tuple(preparation.key(example) for example in some))
        return preparation.compute(some, model, grid, noise)

    def in_chunks(some: Sequence[Example]) -> Sequence[bytes]:
        size = some[0].image.shape[:2]
        batcher = AdaptiveBatcher(experiment, device, preparation.name, size)
        return [content for part in batcher.map(some, compute) for content in part]

    results = cache.fill(examples, in_chunks if preparation.own_chunks else compute)
    if preparation.kept_in_run:
        _copy([cache.file(example) for example in examples], active.run.path / preparation.name)
    return results


def _copy(files: Sequence[Path], folder: Path) -> None:
    for file in files:
        write_atomic(folder / file.name, file.read_bytes())
