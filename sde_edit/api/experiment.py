"""A composed command: its plug-ins, built, and its settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sde_edit.api.dataset import Dataset
from sde_edit.api.metric import NamedMetric
from sde_edit.api.model import ModelSource
from sde_edit.api.sampler import ExternalOutputs, Sampler
from sde_edit.api.spec import RunSpec
from sde_edit.api.task import Task
from sde_edit.errors import UserError


@dataclass(frozen=True)
class Settings:
    """How to run. Settings do not change the images.

    results, cache: folders. limit: the number of examples, from the start of the data set; None for
    all. compile: whether to compile the network. batch_size: images in a batch. loaders: threads
    that read and write images. threads: of torch on the CPU; None for its default.
    shard: which part of the run this process makes, from 0 to shards - 1.
    wandb: project, and mode (online, offline or disabled).
    """

    results: Path
    cache: Path
    limit: int | None
    device: str
    compile: bool
    batch_size: int
    loaders: int
    threads: int | None
    shard: int
    shards: int
    wandb: Mapping[str, str]

    def __post_init__(self) -> None:
        """Raises UserError for a device that is no name of one; it may still be missing here."""
        if self.device == "mps":
            raise UserError(
                "hardware.device=mps is not supported: it lacks float64, in which noise levels are "
                "computed; use hardware.device=cpu"
            )
        if not re.fullmatch(r"auto|cpu|cuda(:(0|[1-9][0-9]*))?", str(self.device)):
            raise UserError(f"hardware.device={self.device}: use auto, cuda, cuda:1 or cpu")


@dataclass(frozen=True)
class Experiment:
    """One composed command: the plug-ins, the spec that identifies their images, and the settings.

    sampler: or, for images that another program made, the files that hold them.
    excluded: number of examples that `dataset` leaves out because they have no external output.
    """

    spec: RunSpec
    task: Task
    sampler: Sampler | ExternalOutputs
    source: ModelSource
    dataset: Dataset
    metrics: tuple[NamedMetric, ...]
    settings: Settings
    overrides: tuple[str, ...]
    excluded: int = 0
