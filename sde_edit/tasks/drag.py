"""Drag (the paper's Sec. 4, Alg. 1): squares of x_t0 are copied to where they shall lie.

code            paper (Alg. 1, Eq. 12)
x               x_0 of one drag step, the result of the one before
inversion.latent  x_t0
S, T            the squares of side 2r about the source and the target point
fresh           eps of Eq. 12
moves           what one drag step copies in one image, a (S, T) for each pair of points

Letters in tensor names: as in sde_edit/api; h, w of a latent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from sde_edit.api.example import Drag, Example, Point
from sde_edit.api.model import LoraSettings, Model, Scale
from sde_edit.api.sampler import Sampler
from sde_edit.diffusion.denoiser import Denoiser, Project
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid, steps_below
from sde_edit.editing.batch import (
    adapted,
    check_drags,
    check_prompt,
    check_share,
    images,
    lora_settings,
    may_change,
    prompts,
    rows_per_evaluation,
)
from sde_edit.errors import UserError
from sde_edit.registry import plugin

_SIDE = 64  # of the latent for which the paper gives r and the length of a step


class Square(NamedTuple):
    """Rows and columns of a latent."""

    rows: slice
    columns: slice


class Move(NamedTuple):
    """From where to where one drag step copies, two squares of one size."""

    S: Square
    T: Square


@plugin
@dataclass(frozen=True)
class DragTask:
    """SDE-Drag with `sampler=sde`, ODE-Drag with `ode`; the points are those of `example.drags`.

    A drag step encodes x_0 up to t_0 (a share of T and of `steps`), changes x_t0 by Eq. 12,
        x~[T] = alpha x[S],  x~[S \\ T] = beta x[S \\ T] + sqrt(1 - beta^2) noise,
    and decodes; its x~_0 is the next one's x_0. The autoencoder is used before the first and after
    the last alone. All pairs of points of an image read x before any writes; where squares overlap,
    T goes before S, and a later pair's T before an earlier one's. A square that leaves the image is
    cut off, and the other square as it is.

    m: drag steps of an image; null: as many as the farthest pair's distance in cells of the latent
    times m_factor, rounded up, and one at least. r, m_factor: null: 5 and 0.5 for a latent of
    64 x 64, in proportion for others, where r is 1 at least and a step is never less than a cell.
    pairs: `together`, all in each step; or `sequence`, one pair after the other, each with an m of
    its own.

    Guidance is linear in the time: guidance_at_0 at t = 0, guidance at t_0; both ways have it.
    `{caption}` and `{target}` in prompts stand for what the data set says.

    Where an example has a mask, all states outside it are kept as they were on the way up, from
    t_0 on; so nothing is moved to there, and what is moved from there stays there too.

    lora_steps: of the LoRA that the network is fitted to each image with first, under its prompt; 0
    for none. It counts lora_scale times at t = 0, lora_scale_at_t_0 times at t_0, and linearly
    between (the paper's App. F.6).
    """

    prompt: str
    negative_prompt: str = ""
    guidance: float = 3.0
    guidance_at_0: float = 1.0
    t_0: float = 0.6
    r: int | None = None
    m: int | None = None
    m_factor: float | None = None
    alpha: float = 1.1
    beta: float = 0.3
    pairs: Literal["together", "sequence"] = "together"
    lora_steps: int = 100
    lora_rank: int = 4
    lora_rate: float = 2e-4
    lora_scale: float = 1.0
    lora_scale_at_t_0: float = 0.5
    version: ClassVar[int] = 1
    uses_mask: ClassVar[bool] = False  # it needs none; what a mask keeps is no hole to be shown
    inverts: ClassVar[bool] = True
    changes: ClassVar[str] = "where squares of the latent lie, step by step"

    def __post_init__(self) -> None:
        check_share("task.t_0", self.t_0)
        if not 0 <= self.beta <= 1:
            raise UserError(f"task.beta={self.beta}: must be from 0 to 1")
        for key in ("r", "m", "m_factor", "alpha"):
            if (value := getattr(self, key)) is not None and value <= 0:
                raise UserError(f"task.{key}={value}: must be above 0")
        _ = self.lora  # raises UserError

    @property
    def lora(self) -> LoraSettings | None:
        return lora_settings(self.lora_steps, self.lora_rank, self.lora_rate)

    def lora_prompts(self, examples: Sequence[Example]) -> list[str]:
        return prompts(self.prompt, examples)

    def check(self, example: Example) -> None:
        check_prompt("task.prompt", self.prompt, example)
        check_prompt("task.negative_prompt", self.negative_prompt, example)
        check_drags(example)

    # -- the loop of Alg. 1

    def edit(
        self, examples: Sequence[Example], model: Model, sampler: Sampler, grid: Grid, noise: Noise
    ) -> Tensor:
        x, grid = model.encode(images(examples)), grid.truncated(self.t_0)
        plans = [self.plan(example, (x.shape[2], x.shape[3])) for example in examples]
        inside = may_change(examples, x)
        for j in range(max(map(len, plans))):
            rows = [b for b, steps in enumerate(plans) if j < len(steps)]
            own, some = noise.of(rows).within(f"drag {j}"), [examples[b] for b in rows]
            eps = self._denoiser(some, model, grid.t[0])
            moves = [plans[b][j] for b in rows]
            with adapted(model, some, self._lora_scale(grid.t[0])):
                inversion = sampler.encode(eps, x[rows], grid, own)
                change = self._change(inversion.states, moves, inside[rows], own)
                edited = sampler.decode(eps, inversion.latent, grid, own, change, inversion)
                x[rows] = edited.to(x)
        return model.decode(x)

    def _change(
        self, source: Tensor, moves: Sequence[Sequence[Move]], inside: Tensor, noise: Noise
    ) -> Project:
        """Eq. 12 at t_0, where a sampler may have more than one state; the mask at every time."""

        def change(x: Tensor, i: int) -> Tensor:
            edited = self.moved(x, moves, noise.like(x, "source")) if i == 0 else x
            return torch.where(inside, edited, source[i])

        return change

    def moved(self, x_BCHW: Tensor, moves: Sequence[Sequence[Move]], fresh_BCHW: Tensor) -> Tensor:
        """Eq. 12, in each image for its own moves."""
        edited = x_BCHW.clone()
        for x, fresh, out, own in zip(x_BCHW, fresh_BCHW, edited, moves, strict=True):
            for S, _ in own:
                s = (..., *S)
                out[s] = self.beta * x[s] + (1 - self.beta**2) ** 0.5 * fresh[s]
            for S, T in own:
                out[(..., *T)] = self.alpha * x[(..., *S)]
        return edited

    # -- what moves when

    def plan(self, example: Example, size: tuple[int, int]) -> list[list[Move]]:
        """The moves of every drag step, for a latent of that (h, w)."""
        scale = (size[1] / example.image.shape[1], size[0] / example.image.shape[0])
        drags = [Drag(_scaled(d.source, scale), _scaled(d.target, scale)) for d in example.drags]
        together = [drags] if self.pairs == "together" else [[drag] for drag in drags]
        return [step for some in together for step in self._steps(some, size)]

    def _steps(self, drags: Sequence[Drag], size: tuple[int, int]) -> list[list[Move]]:
        """Equal steps along the segments, points in cells."""
        side = min(size)
        r = self._r(side)
        m = self.m or self._m(max(math.dist(d.source, d.target) for d in drags), side)
        ways = [[_corner(_between(d, j / m), size) for j in range(m + 1)] for d in drags]
        return [[_move(way[j], way[j + 1], r, size) for way in ways] for j in range(m)]

    def _m(self, distance: float, side: int) -> int:
        return max(1, math.ceil(distance * self._m_factor(side)))

    def _r(self, side: int) -> int:
        return self.r or max(1, round(5 * side / _SIDE))

    def _m_factor(self, side: int) -> float:
        return self.m_factor or min(1.0, 0.5 * _SIDE / side)

    # -- the network

    def _lora_scale(self, top: float) -> Scale:
        slope = (self.lora_scale_at_t_0 - self.lora_scale) / top
        return lambda t_R: self.lora_scale + slope * t_R

    def _denoiser(self, examples: Sequence[Example], model: Model, top: float) -> Denoiser:
        """eps at a guidance that is linear in the time, with both halves of it in one call."""
        prompt = prompts(self.prompt, examples)
        negative = prompts(self.negative_prompt, examples)
        if self.guidance == self.guidance_at_0:
            return model.denoiser(prompt, self.guidance, negative)
        halves = model.denoiser([*negative, *prompt], 1.0)

        def eps(x_BCHW: Tensor, t_B: Tensor) -> Tensor:
            x, t = (_doubled(part, len(examples)) for part in (x_BCHW, t_B))
            e = halves(x, t).view(-1, 2, len(examples), *x_BCHW.shape[1:])
            e_null, e_cond = (half.flatten(0, 1) for half in e.unbind(1))
            slope = (self.guidance - self.guidance_at_0) / top
            guidance = (self.guidance_at_0 + slope * t_B).to(x_BCHW).view(-1, 1, 1, 1)
            guided: Tensor = e_null + guidance * (e_cond - e_null)
            return guided

        return eps

    def evaluations_per_image(self, steps: int) -> int:
        """Of one drag step."""
        each = 2 if self.guidance != self.guidance_at_0 else rows_per_evaluation(self.guidance)
        return 2 * steps_below(self.t_0, steps) * each

    def evaluations_of(self, example: Example, steps: int, size: tuple[int, int]) -> int:
        return len(self.plan(example, size)) * self.evaluations_per_image(steps)

    def follows(self, size: tuple[int, int]) -> str:
        side = min(size)
        own: dict[str, float] = {"r": self._r(side)} if self.r is None else {}
        if self.m is None and self.m_factor is None:
            own["m_factor"] = self._m_factor(side)
        if side == _SIDE or not own:
            return ""
        taken = ", ".join(f"task.{key}={value:g}" for key, value in own.items())
        return f"{taken}: a latent is {size[1]}x{size[0]} here, the paper's {_SIDE}x{_SIDE}"


def _doubled(part: Tensor, examples: int) -> Tensor:
    """Every batch twice in a row, as a denoiser of twice the examples expects them."""
    batches = part.view(-1, examples, *part.shape[1:])
    return torch.stack([batches, batches], dim=1).flatten(0, 2)


def _scaled(point: Point, scale: tuple[float, float]) -> Point:
    return point[0] * scale[0], point[1] * scale[1]


def _between(drag: Drag, share: float) -> Point:
    """The point after that share of the way; a coordinate that does not change keeps every bit."""
    (x, y), (to_x, to_y) = drag.source, drag.target
    return x + share * (to_x - x), y + share * (to_y - y)


def _corner(point: Point, size: tuple[int, int]) -> tuple[int, int]:
    """(row, column) of the cell whose upper left corner is nearest: the middle of a square of even
    side. The last cell for a point beyond it, so that a square is never empty."""
    column, row = (math.floor(value + 0.5) for value in point)
    return min(row, size[0] - 1), min(column, size[1] - 1)


def _move(source: tuple[int, int], target: tuple[int, int], r: int, size: tuple[int, int]) -> Move:
    """What of both squares lies in the image."""
    S, T = [], []
    for s, t, length in zip(source, target, size, strict=True):
        low, high = min(r, s, t), min(r, length - s, length - t)
        S.append(slice(s - low, s + high))
        T.append(slice(t - low, t + high))
    return Move(Square(*S), Square(*T))
