"""DDIM, the first-order ODE sampler, and its inversion.

code        paper (Eq. 6 with eta = 0; Alg. 2 and 4)
x           x_s
e           eps_theta(x_s, s)
a_s, a_t    alpha_s, alpha_t (alpha_bar) of the step s -> t
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sde_edit.diffusion.denoiser import Denoiser, Project, Tape, at, no_edit
from sde_edit.diffusion.inversion import upwards
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddim
from sde_edit.registry import plugin


@plugin
@dataclass(frozen=True)
class ODE:
    """DDIM (Song et al. 2020a; the paper's Alg. 2). One evaluation per step, order 1, ODE.

    Deterministic: what the latent lacks at t_0 is carried to the image unchanged (Theorem 3.2).
    encode is DDIM inversion (Alg. 4): the same step upwards, with eps of where it starts for eps of
    where it ends. That is its error, and no precision mends it.
    """

    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False
    order: ClassVar[int] = 1
    evaluations_per_step: ClassVar[int] = 1
    exact: ClassVar[bool] = False

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Tape:
        return upwards(self.decode, eps, x_BCHW, grid, noise)

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, tape: Tape = (),
    ) -> Tensor:  # fmt: skip
        x = project(x_BCHW, 0)
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            e = at(eps, x, s)
            x = project(ddim(x, e, a_s, a_t), i + 1)
        return x
