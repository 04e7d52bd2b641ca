"""h-Edit: decode the image's own noise under the source prompt, and correct every state.

code        paper (Nguyen et al. 2025, Eq. 22 to 25)
x           x_t^base before the correction, x_t^edit after it
change      f(x, t) = eps(x, t, target) - eps(x, t, source)

Letters in tensor names: as in sde_edit/api.
"""

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
from sde_edit.diffusion.denoiser import Denoiser, Project, at
from sde_edit.diffusion.guidance import guide, rows_per_evaluation
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid, steps_below
from sde_edit.diffusion.steps import ddpm
from sde_edit.editing.batch import check_prompts, check_share, images, prompts
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor

_ROWS_OF_CHANGE = 3  # null, source and target


@plugin
@dataclass(frozen=True)
class HEdit(Task):
    """h-Edit-R in its implicit form (Eq. 25), without attention control.

    A step under the source prompt leads to x^base_t with the noise that returns the source. There
    the change of the prompt is added, with the factor that eps has in the mean of that step:
        x^edit_t = x^base_t + mean(0, eps(x^base_t, t, target) - eps(x^base_t, t, source)).
    If encoding stops below T, the state at which it stops is corrected in the same way.

    source_prompt, prompt, negative_prompt: templates, in which `{caption}` and `{target}` stand for
    the texts of the data set.
    source_guidance: guidance scale while encoding, and of the steps under the source prompt
    (published: w^orig).
    change_guidance: guidance scale of the source's eps in the change (published: w-hat^orig).
    guidance: guidance scale of the target's eps in the change (published: w^edit).
    t_0: the noise level up to which it encodes, as a share of T and of `steps`.
    """

    source_prompt: str
    prompt: str
    negative_prompt: str = ""
    source_guidance: float = 1.0
    change_guidance: float = 5.0
    guidance: float = 7.5
    t_0: float = 0.7
    version: ClassVar[int] = 1
    citation: ClassVar[Citation] = papers.NGUYEN2025HEDIT
    uses_mask: ClassVar[bool] = False
    inverts: ClassVar[bool] = True
    changes: ClassVar[str] = "the prompt, in every state"
    samplers: ClassVar[tuple[str, ...]] = ("sde", "ef")  # the factor is that of their mean

    def __post_init__(self) -> None:
        check_share("task.t_0", self.t_0)

    def check(self, example: Example) -> None:
        check_prompts(self, example, "source_prompt", "prompt", "negative_prompt")

    def edit(
        self,
        examples: Sequence[Example],
        model: Model,
        sampler: Sampler,
        grid: Grid,
        noise: Noise,
        prepared: Prepared = NOTHING_PREPARED,
    ) -> Tensor:
        part = grid.truncated(self.t_0)
        negatives = prompts(self.negative_prompt, examples)
        source = model.denoiser(
            prompts(self.source_prompt, examples), self.source_guidance, negatives
        )
        inversion = sampler.encode(source, model.encode(images(examples)), part, noise)
        correct = self._correction(self._change(examples, model), grid, grid.steps - part.steps)
        x = sampler.decode(source, inversion.latent, part, noise, correct, inversion)
        return model.decode(x)

    def _correction(self, change: Denoiser, grid: Grid, first: int) -> Project:
        """Eq. 25 at every time of the grid from `first` on, but the noisiest of all."""

        def correct(x: Tensor, i: int) -> Tensor:
            to = first + i
            if to == 0:
                return x
            e = at(change, x, grid.t[to])
            mean, _ = ddpm(torch.zeros_like(x), e, grid.alpha[to - 1], grid.alpha[to])
            return x + mean

        return correct

    def _change(self, examples: Sequence[Example], model: Model) -> Denoiser:
        """f(x, t); the two guidances share one evaluation of the null prompt."""
        templates = self.negative_prompt, self.source_prompt, self.prompt
        eps = model.denoiser([p for t in templates for p in prompts(t, examples)], 1.0)

        def f(x_BCHW: Tensor, t_B: Tensor) -> Tensor:
            e_null, e_source, e_target = eps(x_BCHW.repeat(3, 1, 1, 1), t_B.repeat(3)).chunk(3)
            before = guide(e_null, e_source, self.change_guidance)
            return guide(e_null, e_target, self.guidance) - before

        return f

    def evaluations_per_image(self, steps: int) -> int:
        below = steps_below(self.t_0, steps)
        corrections = min(below + 1, steps)  # the noisiest state of the whole grid has none
        decode = self.encode_evaluations(steps) + _ROWS_OF_CHANGE * corrections
        return self.encode_evaluations(steps) + decode

    def encode_evaluations(self, steps: int) -> int:
        return steps_below(self.t_0, steps) * rows_per_evaluation(self.source_guidance)
