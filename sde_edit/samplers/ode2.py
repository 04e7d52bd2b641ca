"""DPM-Solver++(2M), the second-order ODE sampler.

code        Lu et al. 2022c, Alg. 2 (multistep)
d           x_theta, the predicted x_0 at the noisier time s; d_last: at the step before
ahead       D_i, d extrapolated by half a step
h           lambda_t - lambda_s; h_last: of the step before
a_s, a_t    alpha_bar of the step s -> t (their alpha_t is our sqrt(alpha_bar))
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sde_edit.diffusion.denoiser import Denoiser, Project, Tape, at, no_edit
from sde_edit.diffusion.inversion import upwards
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import half_log_snr, predict_x0
from sde_edit.errors import UserError
from sde_edit.registry import plugin


@plugin
@dataclass(frozen=True)
class ODE2:
    """DPM-Solver++(2M) (Lu et al. 2022c), the paper's Inpainting-ODE-2. One evaluation per step,
    order 2, ODE. The first step is DDIM; so is the last one under 15 steps, or if it ends at
    sigma = 0 (diffusers' `lower_order_final`).

    encode is the same method upwards. The two ways see eps at other states, so it is not exact.
    """

    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False
    order: ClassVar[int] = 2
    evaluations_per_step: ClassVar[int] = 1
    exact: ClassVar[bool] = False

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Tape:
        """Raises UserError if the grid ends without noise, where lambda is infinite."""
        if grid.alpha[-1] == 1:
            raise UserError("no way up from alpha = 1 in lambda: use grid.last_sigma=sigma_min")
        return upwards(self.decode, eps, x_BCHW, grid, noise)

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, tape: Tape = (),
    ) -> Tensor:  # fmt: skip
        x = project(x_BCHW, 0)
        d_last, h_last = x, math.nan
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            h = half_log_snr(a_t) - half_log_snr(a_s)
            d = predict_x0(x, at(eps, x, s), a_s)
            ahead = d + (d - d_last) * (h / (2 * h_last)) if grid.is_second_order(i) else d
            ratio = ((1 - a_t) / (1 - a_s)) ** 0.5
            x = ratio * x - a_t**0.5 * math.expm1(-h) * ahead
            x = project(x, i + 1)
            d_last, h_last = d, h
        return x
