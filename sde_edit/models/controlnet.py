"""Stable Diffusion conditioned on an image, such as a scribble: ControlNet (Zhang et al. 2023)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.diffusion.denoiser import Denoiser
from sde_edit.errors import UserError
from sde_edit.networks.base import dtype_of
from sde_edit.networks.checkpoints import checkpoint_digest, checkpoint_folder, load_network
from sde_edit.networks.latent_diffusion import LatentSource, LoadedStableDiffusion
from sde_edit.registry import Text, plugin

_FILES = ("config.json", "diffusion_pytorch_model.safetensors")


@plugin
@dataclass(frozen=True)
class ControlNet(LatentSource):
    """A pipeline in Stable Diffusion's layout with a control net that reads the example's hint.

    path: as for kind stable_diffusion. control: folder or hub id of a diffusers ControlNetModel.
    scale: the factor of its residuals. They enter both halves of guidance, as in diffusers'
    pipeline without guess mode. A row counts as one evaluation, including the control net.
    """

    control: Text = field(metadata={"identity": False})
    scale: float = 1.0
    version: ClassVar[int] = 1
    citation: ClassVar[Citation] = papers.ZHANG2023ADDING

    def control_folder(self) -> Path:
        """Where the control net is, fetched first if it is a hub id. Raises UserError."""
        return checkpoint_folder(self.control, _FILES, key="model.control")

    def digest(self) -> str:
        """The digest of the weights of the pipeline and the control net."""
        given = f"model.control={self.control}"
        both = super().digest() + checkpoint_digest(self.control_folder(), _FILES, given)
        return hashlib.sha256(both.encode()).hexdigest()

    def load(self, device: str, dtype: str, compile: bool = False) -> LoadedControlNet:
        return LoadedControlNet(
            self.folder(),
            self.control_folder(),
            self.scale,
            self.resolution,
            torch.device(device),
            dtype_of(dtype),
            compile,
        )


class LoadedControlNet(LoadedStableDiffusion):
    """The pipeline and its control net on their device."""

    def __init__(
        self,
        folder: Path,
        control: Path,
        scale: float,
        resolution: int,
        device: torch.device,
        dtype: torch.dtype,
        compile: bool = False,
    ) -> None:
        from diffusers import ControlNetModel

        super().__init__(folder, resolution, device, dtype, compile)
        net = load_network(ControlNetModel, control, dtype)
        self.control = self._placed(net, compile=compile)
        self.scale = scale

    def denoiser(
        self,
        prompts: Sequence[str],
        guidance: float,
        negatives: Sequence[str] = (),
        hints_BHWC: Tensor | None = None,
    ) -> Denoiser:
        """eps with one prompt and one hint per row. Raises UserError without hints."""
        if hints_BHWC is None:
            raise UserError(
                "a control net needs a hint for every example: set data.hints to their folder, "
                "with a task that passes them on"
            )
        hints = hints_BHWC.to(self.device).permute(0, 3, 1, 2).to(self.dtype) / 255
        text = self.embed(prompts)
        null = self.embed(negatives or [""] * len(prompts))
        return self._guided((text, hints), (null, hints), guidance)

    def _unet(self, x_BCHW: Tensor, t_B: Tensor, *condition: Tensor) -> Tensor:
        text_BKD, hints_BCHW = condition
        down, middle = self.control(
            x_BCHW,
            t_B,
            text_BKD,
            controlnet_cond=hints_BCHW,
            conditioning_scale=self.scale,
            return_dict=False,
        )
        out: Tensor = self.unet(
            x_BCHW,
            t_B,
            text_BKD,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]
        return out
