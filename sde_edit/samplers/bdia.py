"""BDIA-DDIM: bidirectional integration of DDIM over neighbouring time slots; exactly invertible.

code                BDIA paper (Eq. 22, 24, 28; Alg. 1 and 2)
z_prev, z, z_next   z_{i+1}, z_i, z_{i-1}, from noise to data
e                   eps_theta(z_i, i)
a_prev, a, a_next   alpha_bar at these times (their alpha_t is our sqrt(alpha_bar))
ddim(z, e, a, b)    a_i z + b_i e for the next time, (z_i - b_{i+1} e) / a_{i+1} for the previous
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.sampler import InversionKind, Sampler
from sde_edit.diffusion.denoiser import Denoiser, Project, at, no_edit
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddim
from sde_edit.errors import UserError
from sde_edit.registry import plugin


@plugin
@dataclass(frozen=True)
class BDIA(Sampler):
    """BDIA-DDIM (Zhang et al. 2024). One evaluation per step, ODE. Order 2 at gamma = 1 on a grid
    that is uniform in lambda, otherwise between 1 and 2; gamma = 0 is DDIM.

    gamma: weight of the backward estimate, from 0 to 1.

    encode takes one step of DDIM inversion and then follows Eq. 28. The state is float64, and
    every update is rounded to multiples of 2^-40, so the sums are exact at gamma = 1: decode visits
    the states of encode bit by bit, whatever the network's dtype. At gamma < 1 rounding errors
    grow by 1 / gamma per step.
    """

    gamma: float = 1.0
    version: ClassVar[int] = 1
    inversion: ClassVar[InversionKind] = "exact"
    citation: ClassVar[Citation] = papers.ZHANG2024BDIA

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise UserError(f"sampler.gamma={self.gamma}: must be from 0 to 1")

    @property
    def order(self) -> int:
        return 2 if self.gamma == 1 else 1

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Inversion:
        """Raises UserError for gamma = 0, which has no exact inverse."""
        if self.gamma == 0:
            raise UserError("sampler.gamma=0 is DDIM, which has no exact inverse: use sampler=ode")
        to_noise = grid.reversed()
        z_next = on_lattice(x_BCHW.double())
        e = at(eps, z_next, to_noise.t[0])
        z = on_lattice(ddim(z_next, e, to_noise.alpha[0], to_noise.alpha[1]))
        path = [z_next, z]
        for t, a_next, a, a_prev in to_noise.triples():
            z_next, z = path[-2:]
            e = at(eps, z, t)
            path.append((z_next - self._update(z, e, a_prev, a, a_next)) / self.gamma)
        return Inversion(torch.stack(path[::-1]))

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, inversion: Inversion | None = None,
    ) -> Tensor:  # fmt: skip
        z_prev = project(on_lattice(x_BCHW.double()), 0)
        if inversion:
            # An edit of z_N enters z_{N-1} through the same step, with eps of the source.
            edit = z_prev - on_lattice(inversion.latent)
            z = project(inversion.states[1] + (grid.alpha[1] / grid.alpha[0]) ** 0.5 * edit, 1)
        else:
            e = at(eps, z_prev, grid.t[0])
            z = project(on_lattice(ddim(z_prev, e, grid.alpha[0], grid.alpha[1])), 1)
        for i, (t, a_prev, a, a_next) in enumerate(grid.triples()):
            e = at(eps, z, t)
            z_next = self.gamma * z_prev + self._update(z, e, a_prev, a, a_next)
            z_prev, z = z, project(z_next, i + 2)
        return z.to(x_BCHW.dtype)

    def _update(self, z: Tensor, e: Tensor, a_prev: float, a: float, a_next: float) -> Tensor:
        """Eq. 24 without the term gamma z_{i+1}."""
        return on_lattice(ddim(z, e, a, a_next) - self.gamma * ddim(z, e, a, a_prev))


def on_lattice(x: Tensor) -> Tensor:
    """Round to multiples of 2^-40, which float64 adds without error while below 2^12."""
    return (x * 2.0**40).round() / 2.0**40
