"""Stable Diffusion conditioned on an image, such as a scribble: ControlNet (Zhang et al. 2023)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.diffusion.denoiser import Denoiser
from sde_edit.errors import UserError
from sde_edit.networks.base import dtype_of
from sde_edit.networks.checkpoints import (
    blank,
    checkpoint_digest,
    checkpoint_folder,
    fetch_weights,
    load_network,
    read_config,
    weight_names,
    weights_of,
)
from sde_edit.networks.latent_diffusion import LatentSource, LoadedStableDiffusion
from sde_edit.networks.pipeline_files import check_conditioning
from sde_edit.registry import Text, plugin

if TYPE_CHECKING:
    from torch import Tensor

_STEM = "diffusion_pytorch_model"
_KEY = "model.control"


@plugin
@dataclass(frozen=True)
class ControlNet(LatentSource):
    """A pipeline in Stable Diffusion's layout with a control net that reads the example's hint.

    path: Stable Diffusion: a folder in diffusers layout or a hub id.
    control: folder or hub id of a diffusers ControlNetModel.
    scale: the factor of the control net's residuals.

    The residuals enter both halves of guidance, as in diffusers' pipeline without guess mode. A row
    counts as one evaluation, including the control net.
    """

    control: Text = field(metadata={"identity": False})
    scale: float = 1.0
    version: ClassVar[int] = 1
    citation: ClassVar[Citation] = papers.ZHANG2023ADDING

    def control_folder(self) -> Path:
        """Where the control net is, fetched first if it is a hub id.

        Raises UserError, before its weights are fetched if it does not fit the pipeline.
        """
        folder = checkpoint_folder(self.control, ["config.json"], _KEY)
        _check_control(folder / "config.json", self.files.folder())
        return fetch_weights(self.control, folder, [weight_names(_STEM)], _KEY)

    def digest(self) -> str:
        """The digest of the files of the pipeline and the control net."""
        folder, given = self.control_folder(), f"{_KEY}={self.control}"
        weights = weights_of(folder, _STEM, given)
        files = {"config.json": folder / "config.json", f"{_STEM}.safetensors": weights}
        both = super().digest() + checkpoint_digest(files, given)
        return hashlib.sha256(both.encode()).hexdigest()

    def without_weights(self) -> Callable[[], object]:
        from diffusers import ControlNetModel

        unet, control = self._blank_unet(), blank(ControlNetModel, self.control_folder())
        row = self._blank_row()
        hint = torch.empty(1, 3, self.resolution, self.resolution, device="meta")

        def evaluate() -> object:
            down, middle = control(*row, hint, return_dict=False)
            return unet(
                *row,
                down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
            )

        return evaluate

    def load(self, device: str, dtype: str, compile: bool = False) -> LoadedControlNet:
        return LoadedControlNet(
            self.files.folder(),
            self.control_folder(),
            self.scale,
            self.resolution,
            torch.device(device),
            dtype_of(dtype),
            compile,
        )


def _check_control(file: Path, pipeline: Path) -> None:
    """Raises UserError if a control net is not for the pipeline's networks."""
    if not file.is_file():
        return  # checkpoint_digest names what a folder lacks
    control, unet, text = (
        read_config(f)
        for f in (file, pipeline / "unet" / "config.json", pipeline / "text_encoder/config.json")
    )
    check_conditioning(control, file, "ControlNetModel", text["hidden_size"])
    for key in ("in_channels", "block_out_channels", "layers_per_block"):
        if control.get(key) != unet.get(key):
            raise UserError(
                f"{file}: {key}={control.get(key)}, but the UNet of model.path has "
                f"{unet.get(key)}: the control net is for another model"
            )
    if (channels := control.get("conditioning_channels", 3)) != 3:
        raise UserError(f"{file}: conditioning_channels={channels}: only RGB hints are read")


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
        _check_control(control / "config.json", folder)
        weights = weights_of(control, _STEM, f"{_KEY}={control}")
        net = load_network(ControlNetModel, weights, dtype)
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
        return self._call_unet(
            x_BCHW,
            t_B,
            text_BKD,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        )
