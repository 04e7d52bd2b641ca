"""Cycle-SDE as Alg. 5 writes it: the noise is solved for, recorded, and put in again.

code        paper (Alg. 5)
x           x_s; in decode x~_s
e           eps_theta(x_s, s)
a_s, a_t    alpha_s, alpha_t (alpha_bar) of the step s -> t
sigma, w    sigma_s, w-bar_s
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sde_edit.diffusion.denoiser import Denoiser, Project, Tape, at, no_edit
from sde_edit.diffusion.inversion import record
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddpm
from sde_edit.errors import UserError
from sde_edit.registry import plugin


@plugin
@dataclass(frozen=True)
class TextbookSDE:
    """The reference for `sde`, whose form is the same in exact arithmetic and better in any other:
    eps here is one large number less another, divided by a small sigma. Without a tape it is DDPM.
    """

    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True
    order: ClassVar[int] = 1
    evaluations_per_step: ClassVar[int] = 1
    exact: ClassVar[bool] = True

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Tape:
        """Raises UserError if the grid ends without noise, where sigma is 0 and w has no value."""
        if grid.alpha[-1] == 1:
            raise UserError("Alg. 5 divides by sigma = 0 there: use grid.last_sigma=sigma_min")
        x, e = record(eps, x_BCHW, grid, noise)
        w = []
        for i, (_, a_s, a_t) in enumerate(grid.intervals()):
            mean, sigma = ddpm(x[i], e[i], a_s, a_t)
            w.append((x[i + 1] - mean) / sigma)
        return x, torch.stack(w)

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, tape: Tape = (),
    ) -> Tensor:  # fmt: skip
        x = project(x_BCHW, 0)
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            e = at(eps, x, s)
            mean, sigma = ddpm(x, e, a_s, a_t)
            w = tape[1][i] if tape else noise.like(x, "decode", i)
            x = project(mean + sigma * w, i + 1)
        return x
