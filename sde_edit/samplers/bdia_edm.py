"""BDIA for EDM's sampler, Heun's method in sigma/alpha: sampling only.

code                BDIA paper (Eq. 20 to 24), with EDM's Heun step in the place of DDIM's
z_prev, z, z_next   z_{i+1}, z_i, z_{i-1}, from noise to data
d_prev, d           eps_theta(z_{i+1}, i+1), eps_theta(z_i, i): the slope of z/alpha in sigma/alpha
d_next              eps_theta at Heun's prediction of z_{i-1}
a_prev, a, a_next   alpha_bar at these times
ddim(z, d, a, b)    z moved along the slope d from alpha a to b
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.sampler import Sampler
from sde_edit.diffusion.denoiser import Denoiser, Project, at, no_edit
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddim
from sde_edit.errors import UserError
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class BDIAEDM(Sampler):
    """BDIA (Zhang et al. 2024) for EDM's sampler (Karras et al. 2022, Alg. 1). Two evaluations per
    step, one in a last step to alpha = 1, order 2, ODE. It does not invert. EDM's grid is
    `grid.spacing=karras grid.last_sigma=zero`.

    The paper names this sampler (App. C); the rule here is derived from its Eq. 23, not taken from
    it. Both integrals are averages of the slopes at the two ends: over the next time slot that is
    Heun's step, over the previous one it uses the slopes at z_{i+1} and z_i, which are known, where
    Heun's step to z_i had that at the predicted z_i. So there is no further evaluation.

    gamma: weight of the backward estimate, from 0 to 1; gamma = 0 is EDM's sampler.
    """

    gamma: float = 0.5
    version: ClassVar[int] = 1
    order: ClassVar[int] = 2
    evaluations_per_step: ClassVar[int] = 2
    citation: ClassVar[Citation] = papers.ZHANG2024BDIA

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise UserError(f"sampler.gamma={self.gamma}: must be from 0 to 1")

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, inversion: Inversion | None = None,
    ) -> Tensor:  # fmt: skip
        z = z_prev = d_prev = project(x_BCHW, 0)
        for i, (t, a, a_next) in enumerate(grid.intervals()):
            d = at(eps, z, t)
            z_next = ddim(z, d, a, a_next)
            if a_next < 1:  # eps has no value without noise
                d_next = at(eps, z_next, grid.t[i + 1])
                z_next = ddim(z, (d + d_next) / 2, a, a_next)
            if i > 0:
                a_prev = grid.alpha[i - 1]
                back = ddim(z, (d_prev + d) / 2, a, a_prev)
                z_next = z_next + self.gamma * (a_next / a_prev) ** 0.5 * (z_prev - back)
            z_prev, d_prev, z = z, d, project(z_next, i + 1)
        return z
