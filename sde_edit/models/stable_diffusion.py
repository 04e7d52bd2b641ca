"""Stable Diffusion 1.x, 2.x and all models in their folder layout, such as the embedded one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.networks.base import dtype_of
from sde_edit.networks.latent_diffusion import LatentSource, LoadedStableDiffusion
from sde_edit.registry import plugin


@plugin
@dataclass(frozen=True)
class StableDiffusion(LatentSource):
    """UNet, autoencoder, text encoder and tokenizer, loaded by diffusers from safetensors only.

    path: a folder in diffusers layout, a hub id, or `embedded:NAME` for a model shipped in this
    package.

    The run id holds the digest of the files, not the path. The network may predict eps or v, as the
    scheduler config says.
    """

    version: ClassVar[int] = 1
    citation: ClassVar[Citation] = papers.ROMBACH2022HIGH

    def load(self, device: str, dtype: str, compile: bool = False) -> LoadedStableDiffusion:
        return LoadedStableDiffusion(
            self.files.folder(), self.resolution, torch.device(device), dtype_of(dtype), compile
        )
