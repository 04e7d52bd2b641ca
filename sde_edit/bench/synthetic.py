"""Examples in memory that have what every task and model needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sde_edit.api.dataset import DataStatus
from sde_edit.api.example import Drag, Example
from sde_edit.errors import UserError
from sde_edit.models.adm import ADM
from sde_edit.models.controlnet import ControlNet
from sde_edit.models.ddpm import DDPM
from sde_edit.models.gmm import GMM
from sde_edit.tasks.sample import Sample

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment
    from sde_edit.api.model import ModelSource

DISTINCT = 16  # images made where nothing is computed for each image first; more repeat them
_DRAG = 1 / 8  # its length, as a share of the image's side


@dataclass(frozen=True)
class Synthetic:
    """A data set of examples held in memory."""

    examples: Mapping[str, Example]

    def ids(self) -> Sequence[str]:
        return tuple(self.examples)

    def load(self, example_id: str) -> Example:
        return self.examples[example_id]

    def status(self) -> DataStatus:
        return DataStatus(len(self.examples))

    def digest(self) -> str:
        return "synthetic"


def on_synthetic_data(
    experiment: Experiment, images: int, folder: Path, *, distinct: int = DISTINCT
) -> Experiment:
    """The experiment, unsharded and unlimited, on synthetic examples in a temporary folder.

    distinct: the number of different images, at most.
    """
    made = [_example(i, experiment.source) for i in range(min(images, distinct))]
    ids = [f"bench-{i:06d}" for i in range(images)]
    examples = {name: replace(made[i % len(made)], id=name) for i, name in enumerate(ids)}
    settings = replace(
        experiment.settings,
        results=folder,
        cache=folder / "cache",
        limit=None,
        shard=0,
        shards=1,
    )
    return replace(experiment, dataset=Synthetic(examples), settings=settings)


def _example(seed: int, source: ModelSource) -> Example:
    """A random 4x4 picture, enlarged, half of its height hidden, with one drag to the right."""
    side, (caption, target) = source.resolution, _prompts(source)
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    mask = np.zeros((side, side), np.float32)
    top = int(rng.integers(0, side // 2 + 1))
    mask[top : top + side // 2] = 1
    start = (side * (1 - _DRAG) / 2, top + side / 4)
    return Example(
        "",
        image,
        caption=caption,
        mask=mask,
        truth=image,
        target=target,
        hint=image if isinstance(source, ControlNet) else None,
        drags=(Drag(start, (start[0] + side * _DRAG, start[1])),),
    )


def _prompts(source: ModelSource) -> tuple[str, str]:
    """A caption and a target that the model knows, of equally many words."""
    if isinstance(source, ADM):
        return "n02129165 lion", "n02129604 tiger"
    if isinstance(source, GMM):
        return source.components[0].name, source.components[-1].name
    if isinstance(source, DDPM):
        return "", ""
    return "a quiet street", "a busy street"


def check_pair(experiment: Experiment) -> None:
    """Raises UserError for a task that cannot be timed with the model, as far as is known before
    the model is loaded.
    """
    spec, source = experiment.spec, experiment.source
    refusal = f"task={spec.task.name} cannot be timed with model={spec.model.name}"
    if isinstance(source, ControlNet) and not isinstance(experiment.task, Sample):
        raise UserError(f"{refusal}: it gives the control net no hint; use task=sample")
    if isinstance(source, GMM) and (source.shape[0] != 3 or source.shape[1] != source.shape[2]):
        shape = list(source.shape)
        raise UserError(f"{refusal}: model.shape={shape} is no square image; use [3, 8, 8]")
    prompts = [k for k, v in spec.task.params.items() if k.endswith("prompt") and v]
    if isinstance(source, DDPM) and prompts:
        empty = " ".join(f'task.{key}=""' for key in prompts)
        raise UserError(f"{refusal}: an unconditional model takes no prompt; set {empty}")
