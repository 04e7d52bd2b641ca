"""Round-trip editing: encode under the source prompt, decode under the target's (BDIA's Alg. 2).

With `sampler=sde` it is CycleDiffusion, with `ode` DDIM inversion, with `bdia` and `edict` the
round trip of their papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sde_edit.batch import check_prompt, images, prompts, rows_per_evaluation
from sde_edit.noise import Noise
from sde_edit.registry import plugin
from sde_edit.schedule import Grid
from sde_edit.types import Example, Invertible, Model, Sampler, UserError


@plugin
@dataclass(frozen=True)
class RoundTrip:
    """source_prompt, prompt: `{caption}` and `{target}` stand for what the data set says.

    guidance is that of the way down, source_guidance that of the way up. t_0: how far up it goes,
    as a share of T and of `steps`.
    """

    source_prompt: str
    prompt: str
    negative_prompt: str = ""
    source_guidance: float = 3.0
    guidance: float = 3.0
    t_0: float = 1.0
    version: ClassVar[int] = 1
    uses_mask: ClassVar[bool] = False
    inverts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.t_0 <= 1:
            raise UserError(f"task.t_0={self.t_0}: must be above 0 and at most 1")

    def check(self, example: Example) -> None:
        check_prompt("task.source_prompt", self.source_prompt, example)
        check_prompt("task.prompt", self.prompt, example)

    def edit(
        self, examples: Sequence[Example], model: Model, sampler: Sampler, grid: Grid, noise: Noise
    ) -> Tensor:
        assert isinstance(sampler, Invertible)
        before, after = prompts(self.source_prompt, examples), prompts(self.prompt, examples)
        negatives = prompts(self.negative_prompt, examples)
        source = model.denoiser(before, self.source_guidance, negatives)
        target = model.denoiser(after, self.guidance, negatives)
        x_0, grid = model.encode(images(examples)), grid.below(self.t_0)
        tape = sampler.encode(source, x_0, grid, noise)
        return model.decode(sampler.decode(target, tape[0][0], grid, noise, tape=tape))

    def evaluations_per_image(self, steps: int) -> int:
        up, down = rows_per_evaluation(self.source_guidance), rows_per_evaluation(self.guidance)
        return max(1, round(self.t_0 * steps)) * (up + down)
