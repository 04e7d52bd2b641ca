"""Finds corresponding points of two images by features of a diffusion UNet (DIFT).

Tang et al. 2023: an image is noised to time t, and the output of an up block of the UNet is its
feature map; a point corresponds to the pixel with the largest cosine similarity.

Letters: B images, C channels, H and W of the image, h and w of the feature map, P points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sde_edit.api.example import Point
from sde_edit.diffusion import host
from sde_edit.diffusion.noise import Noise
from sde_edit.errors import UserError
from sde_edit.imaging.fit import pixels_per_cell
from sde_edit.networks.base import alpha_at
from sde_edit.networks.latent_diffusion import LoadedStableDiffusion
from sde_edit.networks.pipeline_files import PipelineFiles, latent_factor

if TYPE_CHECKING:
    from torch import Tensor

_CHANNELS = 64  # upsampled at a time: all 1280 of Stable Diffusion take 1.3 GB at 512x512


@dataclass(frozen=True)
class Layer:
    """Which features: those of up block `block` (0 the lowest) at train time t, averaged over
    `ensemble` draws of the noise."""

    t: int
    block: int
    ensemble: int


class Dift:
    """The features of one layer of a model in Stable Diffusion's layout.

    path: a folder in diffusers layout, a hub id, or `embedded:NAME`.
    """

    def __init__(self, path: str, layer: Layer) -> None:
        self._path, self._layer = path, layer
        self._files = PipelineFiles(path, "path")

    def describe(self) -> str:
        """Model, weights and layer, as text for a convention; weights may be "not fetched"."""
        layer = self._layer
        return (
            f"DIFT features of {self._path}, {self._weights()}, diffusers {version('diffusers')}: "
            f"up block {layer.block} at t = {layer.t}, mean of {layer.ensemble} draws of noise; "
            "latents are posterior means, prompt without guidance, float32"
        )

    def _weights(self) -> str:
        """The digest of the weights, if they are on this machine."""
        from huggingface_hub import try_to_load_from_cache

        path = self._path
        if not path.startswith("embedded:") and not Path(path).is_dir():
            config = try_to_load_from_cache(path, "model_index.json")
            path = str(Path(config).parent) if isinstance(config, str) else ""
        try:
            return f"weights sha256 {PipelineFiles(path, 'path').digest()[:8]}"
        except UserError:
            return "weights not fetched"

    def fetch(self) -> None:
        """Raises UserError with a remedy if files are not available."""
        self._files.digest()

    def load(self, device: str) -> None:
        """Raises UserError as `fetch` does, and for a layer that the network does not have."""
        self.fetch()
        folder = self._files.folder()
        side = latent_factor(folder)  # not used: images may have any size
        self._model = LoadedStableDiffusion(folder, side, torch.device(device), torch.float32)
        blocks, times = len(self._model.unet.up_blocks), len(self._model.alpha_T)
        if self._layer.block >= blocks or self._layer.t >= times:
            raise UserError(
                f"t={self._layer.t}, block={self._layer.block}: {self._path} has times 0 to "
                f"{times - 1} and up blocks 0 to {blocks - 1}"
            )

    def __call__(self, images_BHWC: Tensor, prompts: Sequence[str], noise: Noise) -> Tensor:
        """uint8 [B, H, W, 3], one prompt for each -> float32 [B, C, h, w]."""
        return unet_features(self._model, images_BHWC, prompts, noise, self._layer)


def unet_features(
    model: LoadedStableDiffusion,
    images_BHWC: Tensor,
    prompts: Sequence[str],
    noise: Noise,
    layer: Layer,
) -> Tensor:
    """uint8 [B, H, W, 3], one prompt for each -> float [B, C, h, w].

    The right and lower borders are repeated up to multiples of the autoencoder's factor.
    """
    with torch.inference_mode():
        x_0, text_BKD = model.encode(_extended(images_BHWC, model.factor)), model.embed(prompts)
        t_B = torch.full((len(x_0),), layer.t, device=x_0.device)
        alpha = alpha_at(model.alpha_T, t_B).to(x_0.dtype)
        total = torch.zeros((), device=x_0.device)
        for draw in range(layer.ensemble):
            x_t = alpha.sqrt() * x_0 + (1 - alpha).sqrt() * noise.like(x_0, "correspondence", draw)
            total = total + model.features(x_t, t_B, text_BKD, layer.block)[1]
        return total / layer.ensemble


def _extended(images_BHWC: Tensor, factor: int) -> Tensor:
    """Images whose sides are multiples of the factor."""
    height, width = images_BHWC.shape[1:3]
    rows = torch.arange(height + -height % factor).clamp_max(height - 1)
    columns = torch.arange(width + -width % factor).clamp_max(width - 1)
    return images_BHWC[:, rows][:, :, columns]


def corresponding(
    source_Chw: Tensor,
    other_Chw: Tensor,
    points: Sequence[Point],
    size: tuple[int, int],
    among_HW: Tensor | None = None,
) -> list[tuple[int, int]]:
    """For each point of the source, the pixel (x, y) of the other image with the most similar
    features.

    Both maps are resized by bilinear interpolation, so that each cell has as many pixels as it was
    made of, and cut to the images' size (H, W). Of the other image all pixels are compared, or
    those where `among` (bool) is true; ties go to the first.
    """
    rows, columns = ([int(point[axis]) for point in points] for axis in (1, 0))
    parts = [part[:, rows, columns].T for part in _resized(source_Chw, size)]
    wanted_PC = torch.nn.functional.normalize(torch.cat(parts, dim=1), dim=1)
    dot_PHW = other_Chw.new_zeros(len(points), *size)
    squared_HW = other_Chw.new_zeros(size)
    for vector_PC, part_CHW in zip(
        torch.split(wanted_PC, _CHANNELS, dim=1), _resized(other_Chw, size), strict=True
    ):
        dot_PHW += torch.einsum("pc,chw->phw", vector_PC, part_CHW)
        squared_HW += part_CHW.square().sum(0)
    cosine_PHW = dot_PHW / squared_HW.sqrt().clamp_min(1e-8)
    if among_HW is not None:
        cosine_PHW.masked_fill_(~among_HW.to(cosine_PHW.device), -math.inf)
    best = cosine_PHW.flatten(1).argmax(1)
    return [(index % size[1], index // size[1]) for index in host.read(best).tolist()]


def _resized(features_Chw: Tensor, size: tuple[int, int]) -> Iterator[Tensor]:
    """The resized map, some channels at a time."""
    _, h, w = features_Chw.shape
    side = pixels_per_cell((w, h), (size[1], size[0]))
    whole = (side * h, side * w)
    for part in torch.split(features_Chw, _CHANNELS):
        resized = torch.nn.functional.interpolate(
            part[None], whole, mode="bilinear", align_corners=False
        )[0]
        yield resized[:, : size[0], : size[1]]
