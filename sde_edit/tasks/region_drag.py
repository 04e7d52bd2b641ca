"""RegionDrag (Lu et al. 2024): in every step a region takes the source's state of another one.

code          Lu et al. 2024
S, T          the handle region and the target region
source        the image; its states are recorded while it is encoded
content       what T is filled with: the source, or the image in which S was copied to T

Letters in tensor names: as in sde_edit/api.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.api.model import Model
from sde_edit.api.preparation import NOTHING_PREPARED, Prepared
from sde_edit.api.sampler import Sampler
from sde_edit.api.task import Task
from sde_edit.diffusion.denoiser import Project
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid, steps_below
from sde_edit.editing.batch import (
    attention_access,
    check_drags,
    check_prompts,
    check_share,
    images,
    may_change,
    prompts,
)
from sde_edit.editing.moves import Move, MovePlan, Size, noised, pasted
from sde_edit.editing.reference import ReferenceDenoiser
from sde_edit.errors import UserError
from sde_edit.networks.attention import Reference
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor

Moves = Sequence[Sequence[Move]]  # of each image


@plugin
@dataclass(frozen=True)
class RegionDrag(Task):
    """RegionDrag: its SDE form with `sampler=sde`, its ODE form with `ode` and copy_then_encode.

    The regions are the squares of side 2r about the points of `example.drags`, all pairs at once.
    The sampler encodes the image up to t_0 (a share of T and of `steps`) and decodes once. At t_0
    noise is mixed into S, x[S] = sqrt(1 - noise_scale^2) x[S] + noise_scale noise. Before every
    step from a time t >= t_end (a share as well) T takes a recorded state of the same time. While
    decoding, self-attention in every layer takes keys and values from the source at the same time.
    Guidance is 1.

    order: what T takes. `encode_then_copy`: the source's state in S. `copy_then_encode`: S is first
    copied to T in the image, and T takes the state of that image in T.
    r: half the side of a square, in cells; null: 5 for models whose own latents are 64 x 64, in
    proportion for others, and at least 1. If a square leaves the image, both are clipped alike.

    Outside an example's mask all states equal the encoded states of the source.
    """

    prompt: str
    t_0: float = 0.5
    t_end: float = 0.2
    r: int | None = None
    noise_scale: float = 1.0
    order: Literal["encode_then_copy", "copy_then_encode"] = "encode_then_copy"
    version: ClassVar[int] = 1
    citation: ClassVar[Citation] = papers.LU2024REGIONDRAG
    uses_mask: ClassVar[bool] = False  # a mask is optional, and hides nothing that must be shown
    inverts: ClassVar[bool] = True
    edits_states: ClassVar[bool] = True
    follows_source: ClassVar[bool] = True
    changes: ClassVar[str] = "where squares of the latent lie, at every time from t_0 to t_end"

    def __post_init__(self) -> None:
        check_share("task.t_0", self.t_0)
        check_share("task.t_end", self.t_end)
        if self.t_end > self.t_0:
            raise UserError(f"task.t_end={self.t_end}: must be at most task.t_0={self.t_0}")
        if self.r is not None and self.r <= 0:
            raise UserError(f"task.r={self.r}: must be above 0")
        if not 0 <= self.noise_scale <= 1:
            raise UserError(f"task.noise_scale={self.noise_scale}: must be from 0 to 1")

    def check_model(self, model: Model) -> None:
        attention_access(model, "region_drag")

    def check(self, example: Example) -> None:
        check_prompts(self, example, "prompt")
        check_drags(example)

    def edit(
        self,
        examples: Sequence[Example],
        model: Model,
        sampler: Sampler,
        grid: Grid,
        noise: Noise,
        prepared: Prepared = NOTHING_PREPARED,
    ) -> Tensor:
        model, end = attention_access(model, "region_drag"), grid.truncated(self.t_end)
        grid, prompt = grid.truncated(self.t_0), prompts(self.prompt, examples)
        eps = model.denoiser(prompt, 1.0)

        def encoded(images_BHWC: Tensor) -> Inversion:
            return sampler.encode(eps, model.encode(images_BHWC), grid, noise)

        source = content = encoded(images(examples))
        if self._copies_first:
            content = encoded(self._copied_images(examples, model))
        x_t0, copies = source.latent, grid.steps - end.steps + 1
        moves = self._moves(examples, (x_t0.shape[2], x_t0.shape[3]), self._radius(model))
        inside = may_change(examples, x_t0)
        change = self._change(source.states, content.states, moves, copies, inside, noise)
        decoder = ReferenceDenoiser(model, Reference(), grid, source.states, model.embed(prompt))
        return model.decode(sampler.decode(decoder.eps, x_t0, grid, noise, change, source))

    @property
    def _copies_first(self) -> bool:
        return self.order == "copy_then_encode"

    def _copied_images(self, examples: Sequence[Example], model: Model) -> Tensor:
        """The images [B, H, W, 3] with S copied to T, in pixels."""
        x = images(examples).movedim(-1, 1)
        height, width = x.shape[2:]
        cell = height // model.latent_size(height, width)[0]
        moves = self._moves(examples, (height, width), self._radius(model) * cell)
        return pasted(x, x, moves).movedim(1, -1)

    def _moves(self, examples: Sequence[Example], size: Size, radius: int) -> Moves:
        """S and T of each image. size: the rows and columns that squares are made of."""
        plan = _plan(radius)
        return [plan.steps(example, size, size)[0] for example in examples]

    def _radius(self, model: Model) -> int:
        return _plan(self.r).radius(min(model.latent_shape[1:]))

    def _change(
        self,
        source: Tensor,
        content: Tensor,
        moves: Moves,
        copies: int,
        inside: Tensor,
        noise: Noise,
    ) -> Project:
        """The edit: noise in S, T from `content` at the first `copies` times, the mask at all."""
        beta = math.sqrt(1 - self.noise_scale**2)
        taken = [[Move(T, T) for _, T in own] for own in moves] if self._copies_first else moves

        def change(x: Tensor, i: int) -> Tensor:
            if i == 0:
                x = noised(x, moves, noise.like(x, "source"), beta=beta)
            if i < copies:
                x = pasted(x, content[i], taken)
            return torch.where(inside, x, source[i])

        return change

    def evaluations_per_image(self, steps: int) -> int:
        return self.encode_evaluations(steps) + 2 * steps_below(self.t_0, steps)

    def encode_evaluations(self, steps: int) -> int:
        return (2 if self._copies_first else 1) * steps_below(self.t_0, steps)

    def derived_settings(self, native: Size) -> str:
        return _plan(self.r).derived(native)


def _plan(r: int | None) -> MovePlan:
    """All pairs at once, all the way."""
    return MovePlan(r, m=1, m_factor=None, in_sequence=False)
