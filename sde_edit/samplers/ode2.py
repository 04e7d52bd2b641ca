"""DPM-Solver++(2M), the second-order ODE sampler.

code        Lu et al. 2022c, Alg. 2 (multistep)
d           x_theta, the predicted x_0 at the noisier time s; d_prev: at the previous step
ahead       D_i, d extrapolated by half a step
h           lambda_t - lambda_s; h_prev: of the previous step
a_s, a_t    alpha_bar of the step s -> t (their alpha_t is our sqrt(alpha_bar))
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.sampler import InversionKind, Sampler
from sde_edit.diffusion.denoiser import Denoiser, Project, at, no_edit
from sde_edit.diffusion.inversion import Inversion, invert
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import half_log_snr, predict_x0
from sde_edit.errors import UserError
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class ODE2(Sampler):
    """DPM-Solver++(2M) (Lu et al. 2022c), the paper's Inpainting-ODE-2. One evaluation per step,
    order 2, ODE. The first step is DDIM. So is the last one if there are fewer than 15 steps or the
    grid ends at sigma = 0 (diffusers' `lower_order_final`).

    encode runs the same method towards noise. It evaluates eps at other states than decode does,
    so the inversion is approximate.
    """

    version: ClassVar[int] = 1
    order: ClassVar[int] = 2
    inversion: ClassVar[InversionKind] = "approximate"
    encodes_noiseless: ClassVar[bool] = False
    citation: ClassVar[Citation] = papers.LU2022DPMSOLVERPP

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Inversion:
        """Raises UserError if the grid ends without noise, where lambda is infinite."""
        if grid.alpha[-1] == 1:
            raise UserError("lambda is infinite at alpha = 1: use grid.last_sigma=sigma_min")
        return invert(self.decode, eps, x_BCHW, grid, noise)

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, inversion: Inversion | None = None,
    ) -> Tensor:  # fmt: skip
        x = project(x_BCHW, 0)
        d_prev, h_prev = x, math.nan
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            h = half_log_snr(a_t) - half_log_snr(a_s)
            d = predict_x0(x, at(eps, x, s), a_s)
            ahead = d + (d - d_prev) * (h / (2 * h_prev)) if grid.is_second_order(i) else d
            ratio = ((1 - a_t) / (1 - a_s)) ** 0.5
            x = ratio * x - a_t**0.5 * math.expm1(-h) * ahead
            x = project(x, i + 1)
            d_prev, h_prev = d, h
        return x
