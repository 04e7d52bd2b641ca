"""The way from images to noise under a prompt, which tasks have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sde_edit.api.example import Example
from sde_edit.api.model import Model
from sde_edit.api.sampler import Sampler
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.editing.batch import images, prompts


@dataclass(frozen=True)
class PromptEncoding:
    """The sampler's inversion under one prompt and guidance.

    prompt, negative_prompt: templates, in which `{caption}` and `{target}` stand for the texts of
    the data set.
    """

    prompt: str
    negative_prompt: str
    guidance: float

    def __call__(
        self,
        examples: Sequence[Example],
        model: Model,
        sampler: Sampler,
        grid: Grid,
        noise: Noise,
    ) -> Inversion:
        """The examples at every time of the grid."""
        negatives = prompts(self.negative_prompt, examples)
        eps = model.denoiser(prompts(self.prompt, examples), self.guidance, negatives)
        return sampler.encode(eps, model.encode(images(examples)), grid, noise)
