"""Stable Diffusion with a classifier of noisy latents, whose features energies can use."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.errors import UserError
from sde_edit.networks.base import dtype_of
from sde_edit.networks.checkpoints import checkpoint_digest, checkpoint_folder
from sde_edit.networks.latent_diffusion import LatentSource, LoadedStableDiffusion
from sde_edit.networks.noisy_classifier import (
    CONFIG,
    WEIGHTS,
    load_noisy_classifier,
    read_noisy_classifier,
)
from sde_edit.registry import Text, plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class ClassifiedDiffusion(LatentSource):
    """A pipeline in Stable Diffusion's layout with a classifier of its noisy latents.

    path: Stable Diffusion: a folder in diffusers layout, a hub id or `embedded:NAME`.
    classifier: the same for the classifier, which has a config.json and a model.safetensors.

    The classifier has a place for each cell of its last map, but its features before pooling serve
    latents of any size. It stays in float32 when the UNet has 16 bits, as ADM's.
    """

    classifier: Text = field(metadata={"identity": False})
    version: ClassVar[int] = 1
    citation: ClassVar[Citation] = papers.DHARIWAL2021DIFFUSION

    def classifier_folder(self) -> Path:
        """Where the classifier is. Raises UserError if it is not for the pipeline's latents."""
        folder = checkpoint_folder(self.classifier, [CONFIG, WEIGHTS], "model.classifier")
        own, channels = read_noisy_classifier(folder).in_channels, self.latent_shape[0]
        if own != channels:
            raise UserError(
                f"model.classifier={self.classifier} is for latents of {own} channels, those of "
                f"model.path have {channels}: give one that was trained on them"
            )
        return folder

    def digest(self) -> str:
        """The digest of the files of the pipeline and the classifier."""
        folder = self.classifier_folder()
        files = {name: folder / name for name in (CONFIG, WEIGHTS)}
        own = checkpoint_digest(files, f"model.classifier={self.classifier}")
        return hashlib.sha256((super().digest() + own).encode()).hexdigest()

    def load(self, device: str, dtype: str, compile: bool = False) -> LoadedClassifiedDiffusion:
        return LoadedClassifiedDiffusion(
            self.files.folder(),
            self.classifier_folder(),
            self.resolution,
            torch.device(device),
            dtype_of(dtype),
            compile,
        )


class LoadedClassifiedDiffusion(LoadedStableDiffusion):
    """The pipeline and the classifier on their device."""

    def __init__(
        self,
        folder: Path,
        classifier: Path,
        resolution: int,
        device: torch.device,
        dtype: torch.dtype,
        compile: bool = False,
    ) -> None:
        super().__init__(folder, resolution, device, dtype, compile)
        self.classifier = self._placed(load_noisy_classifier(classifier, self.state_dtype))

    def domain_features(self, x_BCHW: Tensor, t_B: Tensor) -> Tensor:
        features: Tensor = self.classifier.features(x_BCHW.to(self.state_dtype), t_B.to(x_BCHW))
        return features.to(x_BCHW.dtype)
