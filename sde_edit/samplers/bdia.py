"""BDIA-DDIM: DDIM forward over the next slot and backward over the last one; exactly invertible.

code                BDIA paper (Eq. 22, 24, 28; Alg. 1 and 2)
z_last, z, z_next   z_{i+1}, z_i, z_{i-1}, from noise to data
e                   eps_theta(z_i, i)
a_last, a, a_next   alpha_bar at these times (their alpha_t is our sqrt(alpha_bar))
ddim(z, e, a, b)    a_i z_i + b_i e for the next time, (z_i - b_{i+1} e) / a_{i+1} for the last
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
class BDIA:
    """BDIA-DDIM (Zhang et al. 2024). One evaluation per step, ODE; order 2 for gamma = 1 on a grid
    that is even in lambda, between that and DDIM's 1 else; gamma = 0 is DDIM.

    encode is Eq. 28 after one step of DDIM inversion; The state is float64 and
    every update is rounded to multiples of 2^-40, so at gamma = 1 the sums are exact: decode visits
    the very states of encode, bit by bit, whatever the network's dtype. At gamma < 1 rounding
    errors grow by 1 / gamma a step.
    """

    gamma: float = 1.0
    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False
    evaluations_per_step: ClassVar[int] = 1
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise UserError(f"sampler.gamma={self.gamma}: must be from 0 to 1")

    @property
    def order(self) -> int:
        return 2 if self.gamma == 1 else 1

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Tape:
        """Raises UserError for gamma = 0, which has no exact inverse."""
        if self.gamma == 0:
            raise UserError("sampler.gamma=0 is DDIM, which has no exact inverse: use sampler=ode")
        up = grid.reversed()
        z_next = on_lattice(x_BCHW.double())
        e = at(eps, z_next, up.t[0])
        z = on_lattice(ddim(z_next, e, up.alpha[0], up.alpha[1]))
        path = [z_next, z]
        for t, a_next, a, a_last in up.triples():
            z_next, z = path[-2:]
            e = at(eps, z, t)
            path.append((z_next - self._update(z, e, a_last, a, a_next)) / self.gamma)
        return (torch.stack(path[::-1]),)

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, tape: Tape = (),
    ) -> Tensor:  # fmt: skip
        z_last = project(on_lattice(x_BCHW.double()), 0)
        if tape:
            # An edit of z_N goes into z_{N-1} by the same step, at the eps of the source.
            edit = z_last - on_lattice(tape[0][0])
            z = project(tape[0][1] + (grid.alpha[1] / grid.alpha[0]) ** 0.5 * edit, 1)
        else:
            e = at(eps, z_last, grid.t[0])
            z = project(on_lattice(ddim(z_last, e, grid.alpha[0], grid.alpha[1])), 1)
        for i, (t, a_last, a, a_next) in enumerate(grid.triples()):
            e = at(eps, z, t)
            z_next = self.gamma * z_last + self._update(z, e, a_last, a, a_next)
            z_last, z = z, project(z_next, i + 2)
        return z.to(x_BCHW.dtype)

    def _update(self, z: Tensor, e: Tensor, a_last: float, a: float, a_next: float) -> Tensor:
        """Eq. 24 without gamma z_{i+1}."""
        return on_lattice(ddim(z, e, a, a_next) - self.gamma * ddim(z, e, a, a_last))


def on_lattice(x: Tensor) -> Tensor:
    """Rounded to multiples of 2^-40; float64 adds those without error while below 2^12."""
    return (x * 2.0**40).round() / 2.0**40
