"""EDICT: two coupled DDIM states that update each other in turn; exactly invertible.

code        BDIA paper (Eq. 9 to 16)
z, y        z_i, y_i; in between, z^inter and y^inter
a_s, a_t    alpha_bar at t_i, t_{i-1}
ddim        a_i z + b_i e from a_s to a_t, and its inverse (z - b_i e) / a_i from a_t to a_s
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sde_edit.diffusion.denoiser import Denoiser, Project, Tape, at, no_edit
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddim
from sde_edit.errors import UserError
from sde_edit.registry import plugin


@plugin
@dataclass(frozen=True)
class EDICT:
    """EDICT (Wallace et al. 2023), as Zhang et al. 2024 write it; the published code lets z and y
    change places at every other step, the equations don't. Two evaluations per step, order 1, ODE.

    p mixes the two states. The tape is y. The state is float64, as encode divides by p twice a
    step, so rounding errors grow on the way up and, for p < 1, shrink on the way down.
    """

    p: float = 0.93
    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False
    order: ClassVar[int] = 1
    evaluations_per_step: ClassVar[int] = 2
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1:
            raise UserError(f"sampler.p={self.p}: must be above 0 and at most 1")

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Tape:
        p, up = self.p, grid.reversed()
        z = y = x_BCHW.double()
        path = [(z, y)]
        for s, (_, a_t, a_s) in zip(up.t[1:], up.intervals(), strict=True):
            y = (y - (1 - p) * z) / p
            z = (z - (1 - p) * y) / p
            y = ddim(y, at(eps, z, s), a_t, a_s)
            z = ddim(z, at(eps, y, s), a_t, a_s)
            path.append((z, y))
        return tuple(torch.stack(states) for states in zip(*path[::-1], strict=True))

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, tape: Tape = (),
    ) -> Tensor:  # fmt: skip
        p, x = self.p, x_BCHW.double()
        z, y = project(x, 0), project(tape[1][0] if tape else x, 0)
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            z = ddim(z, at(eps, y, s), a_s, a_t)
            y = ddim(y, at(eps, z, s), a_s, a_t)
            z = p * z + (1 - p) * y
            y = p * y + (1 - p) * z
            z, y = project(z, i + 1), project(y, i + 1)
        return z.to(x_BCHW.dtype)
