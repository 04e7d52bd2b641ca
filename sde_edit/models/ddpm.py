"""Unconditional diffusion models of images, in diffusers' layouts: CIFAR-10, CelebA and so on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.diffusion.denoiser import Denoiser
from sde_edit.diffusion.schedule import Schedule
from sde_edit.errors import UserError
from sde_edit.networks.base import (
    PixelNetwork,
    dtype_of,
    eps_of_prediction,
    pixel_size,
    refuse_hints,
)
from sde_edit.networks.checkpoints import (
    blank,
    checkpoint_digest,
    checkpoint_folder,
    fetch_weights,
    load_network,
    read_config,
    read_scheduler,
    weight_names,
)
from sde_edit.networks.pipeline_files import check_resolution
from sde_edit.registry import Count, Text, plugin

if TYPE_CHECKING:
    from torch import Tensor

_STEM = "diffusion_pytorch_model"
_WEIGHTS = (*weight_names(_STEM), f"{_STEM}.bin")
_CONFIGS = ("model_index.json", "config.json", "scheduler_config.json")


@plugin
@dataclass(frozen=True)
class DDPM:
    """A UNet2DModel in pixel space (Ho et al. 2020). Prompts must be "", guidance 0 or 1.

    path: a folder or a hub id, in the layout of DDPMPipeline (unet/, scheduler/) or flat, as in the
    google/ddpm-* repositories.

    Weights are read from safetensors, or else from .bin with torch.load(weights_only=True).
    Predictions of x_0 are never clipped, whatever the scheduler config says; the published DDPM
    samples used clipping.
    """

    path: Text = field(metadata={"identity": False})
    resolution: Count
    version: ClassVar[int] = 1
    citation: ClassVar[Citation] = papers.HO2020DDPM

    def folder(self) -> Path:
        """Where the files are, fetched first if the path is a hub id. Raises UserError."""
        configs = [*_CONFIGS, "unet/config.json", "scheduler/scheduler_config.json"]
        folder = checkpoint_folder(self.path, configs)
        unet = _unet_folder(folder)
        check_resolution(self.resolution, _factor(_config(unet)), "the factor of the UNet")
        prefix = "" if unet == folder else "unet/"
        return fetch_weights(self.path, folder, [[f"{prefix}{name}" for name in _WEIGHTS]])

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        return 3, self.resolution, self.resolution

    @property
    def factor(self) -> int:
        return _factor(_config(_unet_folder(self.folder())))

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        return pixel_size(height, width, self)

    def schedule(self) -> Schedule:
        return read_scheduler(_scheduler_file(self.folder()))[0]

    def digest(self) -> str:
        """The digest of the files. Raises UserError for one that is missing or not whole, and for
        a network that cannot be used at this resolution.
        """
        folder = self.folder()
        unet = _unet_folder(folder)
        files = [unet / "config.json", _weights_file(unet), _scheduler_file(folder)]
        named = {f.relative_to(folder).as_posix().replace(".fp16.", "."): f for f in files}
        return checkpoint_digest(named, f"model.path={self.path}")

    def without_weights(self) -> Callable[[], object]:
        from diffusers import UNet2DModel

        unet = blank(UNet2DModel, _unet_folder(self.folder()))
        x, t = torch.empty(1, *self.latent_shape, device="meta"), torch.empty(1, device="meta")
        return partial(unet, x, t)

    def load(self, device: str, dtype: str, compile: bool = False) -> LoadedDDPM:
        """Raises UserError if the network is not unconditional or not for RGB images."""
        return LoadedDDPM(
            self.folder(), self.resolution, torch.device(device), dtype_of(dtype), compile
        )


def _unet_folder(folder: Path) -> Path:
    return folder / "unet" if (folder / "unet").is_dir() else folder


def _scheduler_file(folder: Path) -> Path:
    parent = folder / "scheduler" if (folder / "scheduler").is_dir() else folder
    return parent / "scheduler_config.json"


def _weights_file(unet: Path) -> Path:
    """Safetensors if there are any. Raises UserError if there are no weights at all."""
    for name in _WEIGHTS:
        if (unet / name).is_file():
            return unet / name
    raise UserError(f"{unet} lacks {_WEIGHTS[0]} (diffusers' save_pretrained writes it)")


def _config(unet: Path) -> dict[str, Any]:
    """The network's config. Raises UserError if this plug-in cannot use such a network."""
    file = unet / "config.json"
    config = read_config(file)
    if config.get("_class_name") != "UNet2DModel":
        raise UserError(f"{file}: must be a UNet2DModel, not {config.get('_class_name')}")
    if config.get("class_embed_type") or config.get("num_class_embeds"):
        raise UserError(f"{file}: the network wants class labels; only unconditional ones are read")
    if (channels := (config["in_channels"], config["out_channels"])) != (3, 3):
        raise UserError(f"{file}: channels in and out must be 3 and 3, not {channels}")
    return config


def _factor(config: Mapping[str, Any]) -> int:
    """A multiple of this many pixels is halved at each level of the UNet without rest."""
    return 1 << (len(config["block_out_channels"]) - 1)


class LoadedDDPM(PixelNetwork):
    """The network on its device. Its state is pixels in [-1, 1]."""

    def __init__(
        self,
        folder: Path,
        resolution: int,
        device: torch.device,
        dtype: torch.dtype,
        compile: bool = False,
    ) -> None:
        from diffusers import UNet2DModel

        super().__init__(device, dtype)
        unet = _unet_folder(folder)
        loaded = load_network(UNet2DModel, _weights_file(unet), dtype)
        self.unet = self._placed(loaded, compile=compile)
        schedule, self.prediction = read_scheduler(_scheduler_file(folder))
        self.alpha_T = torch.tensor(schedule.alpha, dtype=torch.float64, device=device)
        self.latent_shape, self.factor = (3, resolution, resolution), _factor(_config(unet))

    def denoiser(
        self,
        prompts: Sequence[str],
        guidance: float,
        negatives: Sequence[str] = (),
        hints_BHWC: Tensor | None = None,
    ) -> Denoiser:
        """eps, one evaluation per row. Raises UserError for a prompt or for guidance."""
        refuse_hints(hints_BHWC)
        if given := [prompt for prompt in (*prompts, *negatives) if prompt]:
            raise UserError(
                f'prompt {given[0]!r}: an unconditional model takes none; set data.prompt="" '
                'and task.negative_prompt=""'
            )
        if guidance not in (0, 1):
            raise UserError(
                f"guidance {guidance}: an unconditional model has none; set task.guidance=1"
            )
        nothing = torch.empty(len(prompts), 0, device=self.device)
        return self._guided((nothing,), (nothing,), 1)

    def _predict(self, x_BCHW: Tensor, t_B: Tensor, *condition: Tensor) -> Tensor:
        out = self.unet(self._as_input(x_BCHW), t_B, return_dict=False)[0].to(x_BCHW.dtype)
        return eps_of_prediction(out, x_BCHW, t_B, prediction=self.prediction, alpha_T=self.alpha_T)
