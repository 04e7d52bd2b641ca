"""Reconstruction: encode, edit nothing, decode (App. A.3; Table 3 and Fig. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.api.model import Model
from sde_edit.api.preparation import NOTHING_PREPARED, Prepared
from sde_edit.api.sampler import Sampler
from sde_edit.api.task import Task
from sde_edit.diffusion.guidance import rows_per_evaluation
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.editing.batch import check_prompts, prompts
from sde_edit.editing.encoding import PromptEncoding
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class Reconstruct(Task):
    """Encode and decode the image under one prompt.

    The result differs from that of the autoencoder alone (`sampler=none`) by the sampler's
    inversion error.
    """

    prompt: str
    negative_prompt: str = ""
    guidance: float = 7.5
    version: ClassVar[int] = 1
    citation: ClassVar[Citation] = papers.NIE2024BLESSING
    uses_mask: ClassVar[bool] = False
    inverts: ClassVar[bool] = True
    changes: ClassVar[str] = "nothing"
    shares_encoding: ClassVar[bool] = True

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
        inversion = self.encoding(examples, model, sampler, grid, noise)
        return self.edit_from(inversion, examples, model, sampler, grid, noise)

    @property
    def encoding(self) -> PromptEncoding:
        return PromptEncoding(self.prompt, self.negative_prompt, self.guidance)

    def edit_from(
        self,
        inversion: Inversion,
        examples: Sequence[Example],
        model: Model,
        sampler: Sampler,
        grid: Grid,
        noise: Noise,
        prepared: Prepared = NOTHING_PREPARED,
    ) -> Tensor:
        eps = model.denoiser(
            prompts(self.prompt, examples), self.guidance, prompts(self.negative_prompt, examples)
        )
        x = sampler.decode(eps, inversion.latent, grid, noise, inversion=inversion)
        return model.decode(x)

    def evaluations_per_image(self, steps: int) -> int:
        return 2 * self.encode_evaluations(steps)

    def encode_evaluations(self, steps: int) -> int:
        return steps * rows_per_evaluation(self.guidance)
