"""Drag (the paper's Sec. 4, Alg. 1): squares of x_t0 are copied to their targets.

code              paper (Alg. 1, Eq. 12)
x                 x_0 of one drag step, the result of the step before
inversion.latent  x_t0

Letters in tensor names: as in sde_edit/api; h, w of a latent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.api.model import Model, Scale
from sde_edit.api.preparation import NOTHING_PREPARED, Prepared
from sde_edit.api.sampler import Sampler
from sde_edit.api.task import Task
from sde_edit.diffusion import host
from sde_edit.diffusion.denoiser import Denoiser, Project
from sde_edit.diffusion.guidance import guide, rows_per_evaluation
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid, steps_below
from sde_edit.editing.batch import (
    check_drags,
    check_prompts,
    check_share,
    images,
    may_change,
    prompts,
)
from sde_edit.editing.lora import LoraFit, adapted, lora_fits
from sde_edit.editing.moves import Move, MovePlan, Size, apply_moves, apply_moves_in_turn
from sde_edit.errors import UserError
from sde_edit.registry import UNLESS_DEFAULT, plugin

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _Clock:
    """What guidance and the scale of the LoRA are linear in: 0 at x_0, `end` where they arrive."""

    read: Callable[[Tensor], Tensor]  # of times [R]
    end: float

    def __call__(self, t_R: Tensor) -> Tensor:
        return self.read(t_R)


@plugin
@dataclass(frozen=True)
class DragTask(Task):
    """SDE-Drag with `sampler=sde`, ODE-Drag with `ode`; the points are those of `example.drags`.

    A drag step encodes x_0 up to t_0 (a share of T and of `steps`), changes x_t0 by Eq. 12,
        x~[T] = alpha x[S],  x~[S \\ T] = beta x[S \\ T] + sqrt(1 - beta^2) noise,
    and decodes; the next step starts from the resulting x~_0. The autoencoder is used only before
    the first step and after the last. All pairs of points of an image read x before any of them
    writes; where squares overlap, T takes precedence over S, and a later pair's T over an earlier
    one's. If a square leaves the image, both squares are clipped alike.

    m: the number of drag steps of an image; null: the largest distance of a pair in cells of the
    latent, times m_factor, rounded up, and at least one.
    r: half the side of a square, in cells; null: 5 for models whose own latents are 64 x 64, in
    proportion for others, and at least 1.
    m_factor: drag steps per cell; null: 0.5 for models whose own latents are 64 x 64, in proportion
    for others, with a step of at least one cell.
    pairs: `together`, all pairs in each step; or `sequence`, one pair after the other, each with
    its own m.

    Guidance is linear in time, for encoding and decoding: guidance_at_0 at t = 0, guidance at t_0.
    `{caption}` and `{target}` in prompts stand for the texts of the data set.

    If an example has a mask, all states from t_0 on equal the encoded states outside it. So nothing
    is copied to the outside, and content that is copied from there also stays in place.

    lora_steps: steps of the LoRA fit that adapts the network to each image under its prompt; 0 for
    none. The LoRA is scaled by lora_scale at t = 0 and by lora_scale_at_t_0 at t_0 (the paper's
    App. F.6).
    lora_schedule: the scale in between: `linear` in time, or half a `cosine`, which leaves both
    ends slowly; null: `linear` in the paper's convention, `cosine` in the published one.

    convention: `paper`, as above, or `published`, as in the authors' code. There, in a drag step of
    n steps up and n down, at least two,
        x_0 is taken for the state one step of the grid before its end, so t = 0 is never visited
        and t_0 is a step noisier;
        what is linear in time goes by steps, and over n - 1 of them: the guidance at t_0 is
        guidance + (guidance - guidance_at_0) / (n - 1), and the LoRA's scale overshoots as well;
        m makes a step as nearly 1 / m_factor cells as it can;
        a point is the upper left corner of its cell, points on the way are rounded towards the
        source, and the last row and column of the latent are never copied;
        a pair of points reads x_t0 as the pairs before it left it, and has fresh noise of its own;
        the mask acts from the first step down on, not yet at t_0.
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
    lora_schedule: Literal["linear", "cosine"] | None = field(
        default=None, metadata={"identity": UNLESS_DEFAULT}
    )
    convention: Literal["paper", "published"] = field(
        default="paper", metadata={"identity": UNLESS_DEFAULT}
    )
    version: ClassVar[int] = 1
    citation: ClassVar[Citation] = papers.NIE2024BLESSING
    cost_varies: ClassVar[bool] = True
    uses_mask: ClassVar[bool] = False  # a mask is optional, and hides nothing that must be shown
    inverts: ClassVar[bool] = True
    edits_states: ClassVar[bool] = True
    changes: ClassVar[str] = "where squares of the latent lie, step by step"

    def __post_init__(self) -> None:
        check_share("task.t_0", self.t_0)
        if not 0 <= self.beta <= 1:
            raise UserError(f"task.beta={self.beta}: must be from 0 to 1")
        for key in ("r", "m", "m_factor", "alpha"):
            if (value := getattr(self, key)) is not None and value <= 0:
                raise UserError(f"task.{key}={value}: must be above 0")
        _ = self.preparations  # raises UserError
        constant = not self.lora_steps or self.lora_scale == self.lora_scale_at_t_0
        if self.lora_schedule and constant:
            raise UserError(
                f"task.lora_schedule={self.lora_schedule} has no effect on a constant scale: set "
                "task.lora_steps above 0, and task.lora_scale_at_t_0 other than task.lora_scale"
            )

    @property
    def preparations(self) -> tuple[LoraFit, ...]:
        return lora_fits(
            self.prompt, steps=self.lora_steps, rank=self.lora_rank, rate=self.lora_rate
        )

    def check(self, example: Example) -> None:
        check_prompts(self, example, "prompt", "negative_prompt")
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
        """The loop of Alg. 1."""
        adapters = prepared.get(LoraFit.name, ())
        grid = self._grid(grid)
        x, clock = model.encode(images(examples)), self._clock(grid)
        plan, native = move_plan(self), model.latent_shape[1:]
        plans = [plan.steps(example, (x.shape[2], x.shape[3]), native) for example in examples]
        inside = may_change(examples, x)
        for j in range(max(map(len, plans))):
            rows = [b for b, steps in enumerate(plans) if j < len(steps)]
            own, some = noise.of(rows).within(f"drag {j}"), [examples[b] for b in rows]
            eps = self._denoiser(some, model, clock)
            moves = [plans[b][j] for b in rows]
            loras = [adapters[b] for b in rows] if adapters else ()
            with adapted(model, loras, self._lora_scale(clock)):
                inversion = sampler.encode(eps, x[rows], grid, own)
                change = self._change(inversion.states, moves, inside[rows], own)
                edited = sampler.decode(eps, inversion.latent, grid, own, change, inversion)
                x[rows] = edited.to(x)
            model.observer.reached(lambda: model.decode(x))
        return model.decode(x)

    @property
    def _published(self) -> bool:
        return self.convention == "published"

    def _grid(self, grid: Grid) -> Grid:
        """The times of a drag step, from t_0 to that of x_0."""
        if self._published:
            self._check_steps(grid.steps + grid.left_out)
            grid = grid.one_step_in()
        return grid.truncated(self.t_0)

    def _check_steps(self, steps: int) -> None:
        """Raises UserError if the published grid has no room, or its scales no second step."""
        if self._published and not 2 <= steps_below(self.t_0, steps) < steps:
            raise UserError(
                f"task.convention=published needs at least 2 steps below t_0 and one above, and "
                f"task.t_0={self.t_0} of steps={steps} gives {steps_below(self.t_0, steps)}: "
                "change one of them, or use task.convention=paper"
            )

    def _clock(self, grid: Grid) -> _Clock:
        if not self._published:
            return _Clock(lambda t: t, grid.t[0])

        @cache
        def times(dtype: torch.dtype, device: torch.device) -> Tensor:
            """Those of the grid, earliest first; carried to a device once."""
            return torch.tensor(grid.t[::-1], dtype=dtype, device=device)

        return _Clock(lambda t: _steps_up(times(t.dtype, t.device), t), grid.steps - 1)

    def _change(
        self, source: Tensor, moves: Sequence[Sequence[Move]], inside: Tensor, noise: Noise
    ) -> Project:
        """Applies Eq. 12 to every state that the sampler has at t_0, and the mask at every time."""

        def change(x: Tensor, i: int) -> Tensor:
            if i == 0:
                x = self._moved(x, moves, noise)
                if self._published:
                    return x
            return torch.where(inside, x, source[i])

        return change

    def _moved(self, x: Tensor, moves: Sequence[Sequence[Move]], noise: Noise) -> Tensor:
        if not self._published:
            fresh = noise.like(x, "source")
            return apply_moves(x, moves, fresh, alpha=self.alpha, beta=self.beta)
        own = [noise.like(x, "source", p) for p in range(max(map(len, moves)))]
        return apply_moves_in_turn(x, moves, own, alpha=self.alpha, beta=self.beta)

    def _lora_scale(self, clock: _Clock) -> Scale:
        at_0, span = self.lora_scale, self.lora_scale_at_t_0 - self.lora_scale
        schedule = self.lora_schedule or ("cosine" if self._published else "linear")
        if schedule == "cosine":
            return lambda t_R: at_0 + span / 2 * (1 - torch.cos(torch.pi / clock.end * clock(t_R)))
        return lambda t_R: at_0 + span / clock.end * clock(t_R)

    def _denoiser(self, examples: Sequence[Example], model: Model, clock: _Clock) -> Denoiser:
        """eps with guidance that is linear in time; one call evaluates both halves of guidance."""
        prompt = prompts(self.prompt, examples)
        negative = prompts(self.negative_prompt, examples)
        if self.guidance == self.guidance_at_0:
            return model.denoiser(prompt, self.guidance, negative)
        halves = model.denoiser([*negative, *prompt], 1.0)

        def eps(x_BCHW: Tensor, t_B: Tensor) -> Tensor:
            e = halves(torch.cat([x_BCHW, x_BCHW]), torch.cat([t_B, t_B]))
            e_null, e_cond = e.chunk(2)
            slope = (self.guidance - self.guidance_at_0) / clock.end
            guidance_B = (self.guidance_at_0 + slope * clock(t_B)).to(x_BCHW.dtype)
            guidance_B111 = host.send(guidance_B, x_BCHW.device).view(-1, 1, 1, 1)
            return guide(e_null, e_cond, guidance_B111)

        return eps

    def evaluations_per_image(self, steps: int) -> int:
        """The cost of one drag step. Raises UserError for too few steps of task.convention."""
        return 2 * self.encode_evaluations(steps)

    def encode_evaluations(self, steps: int) -> int:
        self._check_steps(steps)
        each = 2 if self.guidance != self.guidance_at_0 else rows_per_evaluation(self.guidance)
        return steps_below(self.t_0, steps) * each

    def evaluations_of(self, example: Example, steps: int, size: Size, native: Size) -> int:
        return 2 * self.encode_evaluations_of(example, steps, size, native)

    def encode_evaluations_of(self, example: Example, steps: int, size: Size, native: Size) -> int:
        return len(move_plan(self).steps(example, size, native)) * self.encode_evaluations(steps)

    def derived_settings(self, native: Size) -> str:
        return move_plan(self).derived(native)


def move_plan(task: DragTask) -> MovePlan:
    """Which squares the task copies, and in how many steps."""
    in_sequence = task.pairs == "sequence"
    published = task.convention == "published"
    return MovePlan(task.r, task.m, task.m_factor, in_sequence, published)


def _steps_up(times: Tensor, t_R: Tensor) -> Tensor:
    """The number of steps from the first of a grid's times up to each t; between two times, the
    share of a step."""
    upper = torch.searchsorted(times, t_R).clamp(1, len(times) - 1)
    below = times[upper - 1]
    return (upper - 1 + (t_R - below) / (times[upper] - below)).to(t_R.dtype)
