"""DDPM, the first-order SDE sampler.

code        paper (Eq. 6 with eta = 1, Alg. 3)
x           x_s
e           eps_theta(x_s, s)
a_s, a_t    alpha_s, alpha_t (alpha_bar) of the step s -> t
sigma, w    sigma_s, w-bar_s
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sde_edit.noise import Noise
from sde_edit.registry import plugin
from sde_edit.schedule import Grid, predict_x0
from sde_edit.types import Denoiser, Project


@plugin
@dataclass(frozen=True)
class SDE:
    """DDPM (Ho et al. 2020; the paper's Alg. 3). One evaluation per step, order 1, SDE.

    Fresh noise at every step contracts the distance to the model's own distribution
    (Theorem 3.1), which is what repairs an edited latent.
    """

    version: ClassVar[int] = 1
    order: ClassVar[int] = 1

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise, project: Project
    ) -> Tensor:
        x = project(x_BCHW, 0)
        for i, (s, a_s, a_t) in enumerate(grid.pairs()):
            e = eps(x, x.new_full((len(x),), s))
            sigma2 = (1 - a_t) / (1 - a_s) * (1 - a_s / a_t)
            w = noise.like(x, "decode", i)
            x = a_t**0.5 * predict_x0(x, e, a_s) + (1 - a_t - sigma2) ** 0.5 * e + sigma2**0.5 * w
            x = project(x, i + 1)
        return x
