"""Inpainting: the known region is the noised reference at every step (App. B)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.api.model import Model
from sde_edit.api.preparation import NOTHING_PREPARED, Prepared
from sde_edit.api.sampler import Sampler
from sde_edit.api.task import Task
from sde_edit.diffusion.forward import add_noise
from sde_edit.diffusion.guidance import rows_per_evaluation
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.editing.batch import (
    check_mask,
    check_prompts,
    images,
    latent_masks,
    masks,
    prompts,
)
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


def composite(edited_BHWC: Tensor, original_BHWC: Tensor, mask_BHW: Tensor) -> Tensor:
    """uint8 [B, H, W, 3]: original where the mask is 0, edit where it is 1, a blend between."""
    m = mask_BHW[..., None]
    return (m * edited_BHWC + (1 - m) * original_BHWC).round().to(torch.uint8)


@plugin
@dataclass(frozen=True)
class Inpaint(Task):
    """Noise to T, add a mask, decode: SDEdit's inpainting with an SDE, Stable Diffusion's with an
    ODE (the paper's Sec. 5.1, App. B and F.1).

    prompt: a template, in which `{caption}` stands for the example's caption.
    composite_known: paste the known pixels over the result at the end; off in the paper.

    The reference is the whole image, with the same noise at every step, as in the published code.
    """

    prompt: str
    negative_prompt: str = ""
    guidance: float = 7.5
    composite_known: bool = False
    version: ClassVar[int] = 1
    citation: ClassVar[Citation] = papers.MENG2022SDEDIT
    uses_mask: ClassVar[bool] = True
    inverts: ClassVar[bool] = False
    changes: ClassVar[str] = "adds a mask"

    def check(self, example: Example) -> None:
        check_mask(example)
        check_prompts(self, example, "prompt", "negative_prompt")

    def edit(
        self,
        examples: Sequence[Example],
        model: Model,
        sampler: Sampler,
        grid: Grid,
        noise: Noise,
        prepared: Prepared = NOTHING_PREPARED,
    ) -> Tensor:
        originals = images(examples)
        eps = model.denoiser(
            prompts(self.prompt, examples), self.guidance, prompts(self.negative_prompt, examples)
        )
        y_0 = model.encode(originals)
        n = noise.like(y_0, "init")
        hidden = latent_masks(examples, y_0)

        def project(x: Tensor, i: int) -> Tensor:
            a = grid.alpha[i] if i < grid.steps else 1.0
            return torch.where(hidden, x, add_noise(y_0, n, a))

        edited = model.decode(sampler.decode(eps, n, grid, noise, project))
        return composite(edited, originals, masks(examples)) if self.composite_known else edited

    def evaluations_per_image(self, steps: int) -> int:
        return steps * rows_per_evaluation(self.guidance)
