"""DDPM, the first-order SDE sampler, and Cycle-SDE.

code        paper (Eq. 6 with eta = 1; Alg. 3 and 5)
x           x_s; with a tape x~_s, and tape.x the source's x_s
e           eps_theta(x_s, s)
a_s, a_t    alpha_s, alpha_t (alpha_bar) of the step s -> t
sigma, w    sigma_s, w-bar_s
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sde_edit.diffusion.denoiser import Denoiser, Project, Tape, at, no_edit
from sde_edit.diffusion.inversion import Trajectory, record
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddpm
from sde_edit.registry import plugin


@plugin
@dataclass(frozen=True)
class SDE:
    """DDPM (Ho et al. 2020; the paper's Alg. 3). One evaluation per step, order 1, SDE.

    Fresh noise at every step contracts the distance to the model's own distribution
    (Theorem 3.1), which is what repairs an edited latent.

    With a tape it is Cycle-SDE (Alg. 5): the noise is the one that brings the source back. Eq. 6
    of the source taken from Eq. 6 of the edit leaves no noise,
        x~_t = x_t + mean(x~_s - x_s, eps(x~_s) - eps(x_s)),
    as the mean is linear. So the large numbers of which Alg. 5 takes differences never meet, and
    where nothing was edited x_t comes out as it went in, in any dtype and at any guidance.
    """

    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True
    order: ClassVar[int] = 1
    evaluations_per_step: ClassVar[int] = 1
    exact: ClassVar[bool] = True

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Tape:
        return record(eps, x_BCHW, grid, noise)

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, tape: Tape = (),
    ) -> Tensor:  # fmt: skip
        x, source = project(x_BCHW, 0), Trajectory(*tape) if tape else None
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            e = at(eps, x, s)
            if source:
                change, _ = ddpm(x - source.x[i], e - source.eps[i], a_s, a_t)
                x = source.x[i + 1] + change
            else:
                mean, sigma = ddpm(x, e, a_s, a_t)
                x = mean + sigma * noise.like(x, "decode", i)
            x = project(x, i + 1)
        return x
