"""Sampling from noise: text to image, or without a prompt (BDIA's Tables 1 and 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from sde_edit.api.example import Example
from sde_edit.api.model import Model
from sde_edit.api.preparation import NOTHING_PREPARED, Prepared
from sde_edit.api.sampler import Sampler
from sde_edit.api.task import Task
from sde_edit.diffusion.guidance import rows_per_evaluation
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.editing.batch import check_prompts, hints, prompts
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class Sample(Task):
    """x_T is standard normal noise, which depends on the example but not on the sampler.

    The task uses the example's caption, and its hint if the model has a control net. The example's
    image gives its size alone, and belongs to the reference set of metrics.
    """

    prompt: str
    negative_prompt: str = ""
    guidance: float = 7.5
    version: ClassVar[int] = 1
    citation: ClassVar[None] = None  # sampling is the model's and the sampler's
    uses_mask: ClassVar[bool] = False
    inverts: ClassVar[bool] = False
    changes: ClassVar[str] = "nothing: there is no image"

    def check(self, example: Example) -> None:
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
        given = prompts(self.prompt, examples)
        eps = model.denoiser(
            given, self.guidance, prompts(self.negative_prompt, examples), hints(examples)
        )
        height, width = examples[0].image.shape[:2]
        shape = (len(examples), model.latent_shape[0], *model.latent_size(height, width))
        x_T = noise.like(torch.empty(shape, dtype=model.state_dtype, device=model.device), "init")
        return model.decode(sampler.decode(eps, x_T, grid, noise))

    def evaluations_per_image(self, steps: int) -> int:
        return steps * rows_per_evaluation(self.guidance)
