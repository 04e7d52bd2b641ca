"""DDIM, the first-order ODE sampler.

code        paper (Eq. 6 with eta = 0, Alg. 2)
x           x_s
e           eps_theta(x_s, s)
a_s, a_t    alpha_s, alpha_t (alpha_bar) of the step s -> t
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
class ODE:
    """DDIM (Song et al. 2020a; the paper's Alg. 2). One evaluation per step, order 1, ODE.

    Deterministic: what the latent lacks at t_0 is carried to the image unchanged (Theorem 3.2).
    """

    version: ClassVar[int] = 1
    order: ClassVar[int] = 1

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise, project: Project
    ) -> Tensor:
        x = project(x_BCHW, 0)
        for i, (s, a_s, a_t) in enumerate(grid.pairs()):
            e = eps(x, x.new_full((len(x),), s))
            x = a_t**0.5 * predict_x0(x, e, a_s) + (1 - a_t) ** 0.5 * e
            x = project(x, i + 1)
        return x
