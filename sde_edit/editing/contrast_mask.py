"""DiffEdit's mask (Couairon et al. 2022): where two prompts disagree about the noise.

Letters in tensor names: as in sde_edit/api; h, w of a latent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from PIL import Image

from sde_edit.api.example import Example
from sde_edit.api.model import Model
from sde_edit.api.preparation import Preparation
from sde_edit.api.spec import RunSpec
from sde_edit.diffusion import host
from sde_edit.diffusion.denoiser import at
from sde_edit.diffusion.forward import add_noise
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.editing.batch import images, prompts
from sde_edit.imaging.files import from_png, png_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.api.example import Mask


@dataclass(frozen=True)
class ContrastMask(Preparation):
    """One black and white PNG per example, at the size of the latent.

    The mask holds the cells where eps of the two prompts (templates) differ by more than `level`
    times the image's mean difference, at time t (a share of T) and averaged over `maps` draws of
    noise.
    """

    source_prompt: str
    prompt: str
    maps: int
    t: float
    level: float
    name: ClassVar[str] = "masks"
    label: ClassVar[str] = "masks"
    suffix: ClassVar[str] = ".png"
    kept_in_run: ClassVar[bool] = True

    def basis(self, spec: RunSpec) -> Mapping[str, Any]:
        fields = asdict(spec)
        keys = ("model", "data", "steps", "spacing", "last_sigma", "dtype", "seed")
        return {
            "kind": spec.task.kind,
            "version": spec.task.version,
            "source_prompt": self.source_prompt,
            "prompt": self.prompt,
            "mask_maps": self.maps,
            "mask_t": self.t,
            "mask_level": self.level,
        } | {key: fields[key] for key in keys}

    def key(self, example: Example) -> str:
        return example.id

    def compute(
        self, examples: Sequence[Example], model: Model, grid: Grid, noise: Noise
    ) -> list[bytes]:
        masks = host.read(self.find(examples, model, grid, noise))
        return [png_bytes(Image.fromarray(mask)) for mask in masks]

    def read(self, content: bytes, example: Example) -> Mask:
        """The mask [H, W], resized to the example's image."""
        image = from_png(content, name=f"the mask of {example.id}")
        size = (example.image.shape[1], example.image.shape[0])
        pixels = np.asarray(image.resize(size, Image.Resampling.NEAREST))
        return pixels.astype(np.float32)

    def find(self, examples: Sequence[Example], model: Model, grid: Grid, noise: Noise) -> Tensor:
        """The masks at the size of the latent: bool [B, h, w]."""
        x_0, grid = model.encode(images(examples)), grid.truncated(self.t)
        t, a = grid.t[0], grid.alpha[0]
        source, target = (
            model.denoiser(prompts(prompt, examples), 1.0)
            for prompt in (self.source_prompt, self.prompt)
        )
        noised = (add_noise(x_0, noise.like(x_0, "mask", k), a) for k in range(self.maps))
        contrasts = [(at(target, x, t) - at(source, x, t)).abs() for x in noised]
        contrast = torch.stack(contrasts).mean(dim=(0, 2))
        masks_Bhw: Tensor = contrast > self.level * contrast.mean(dim=(1, 2), keepdim=True)
        return masks_Bhw
