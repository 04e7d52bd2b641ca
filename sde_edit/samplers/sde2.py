"""SDE-DPM-Solver++(2M), the second-order SDE sampler.

code        Lu et al. 2022c, Eq. 18 (SDE-DPM-Solver++ 2M)
x, e        x_s, eps_theta(x_s, s); with an inversion, the edit's minus the source's
d           x_theta, the predicted x_0 at the noisier time s; d_prev: at the previous step
ahead       D_i, d extrapolated by half a step
h           lambda_t - lambda_s; h_prev: of the previous step
a_s, a_t    alpha_bar of the step s -> t (their alpha_t is our sqrt(alpha_bar))
w           z_t, standard Gaussian noise
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.sampler import InversionKind, Sampler
from sde_edit.diffusion.denoiser import Denoiser, Project, at, no_edit
from sde_edit.diffusion.forward import forward_process
from sde_edit.diffusion.inversion import Inversion, encode_by_noising
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import half_log_snr, predict_x0
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class SDE2(Sampler):
    """SDE-DPM-Solver++(2M) (Lu et al. 2022c), the paper's Inpainting-SDE-2. One evaluation per
    step, order 2 in its drift, SDE. The first step is DDPM. So is the last one if there are fewer
    than 15 steps or the grid ends at sigma = 0 (diffusers' `lower_order_final`).

    With an inversion it is Cycle-SDE of second order. The step is linear in states, eps and noise,
    so the difference of edit and source takes the same step without noise, and what was not edited
    comes out bit for bit.
    """

    version: ClassVar[int] = 1
    order: ClassVar[int] = 2
    stochastic: ClassVar[bool] = True
    inversion: ClassVar[InversionKind] = "exact"
    citation: ClassVar[Citation] = papers.LU2022DPMSOLVERPP

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Inversion:
        return encode_by_noising(eps, forward_process(x_BCHW, grid, noise), grid)

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, inversion: Inversion | None = None,
    ) -> Tensor:  # fmt: skip
        x = project(x_BCHW, 0)
        d_prev, h_prev = x, math.nan
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            h = half_log_snr(a_t) - half_log_snr(a_s)
            e = at(eps, x, s)
            if inversion:
                (source_eps,) = inversion.extra
                x, e = x - inversion.states[i], e - source_eps[i]
            d = predict_x0(x, e, a_s)
            ahead = d + (d - d_prev) * (h / (2 * h_prev)) if grid.is_second_order(i) else d
            ratio = ((1 - a_t) / (1 - a_s)) ** 0.5
            x = ratio * math.exp(-h) * x - a_t**0.5 * math.expm1(-2 * h) * ahead
            if inversion:
                x = inversion.states[i + 1] + x
            else:
                x = x + ((1 - a_t) * -math.expm1(-2 * h)) ** 0.5 * noise.like(x, "decode", i)
            x = project(x, i + 1)
            d_prev, h_prev = d, h
        return x
