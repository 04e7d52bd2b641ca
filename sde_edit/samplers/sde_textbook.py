"""Cycle-SDE as Alg. 5 writes it: solve for the noise of the source, record it, add it again.

code        paper (Alg. 5)
x           x_s; in decode x~_s
e           eps_theta(x_s, s)
a_s, a_t    alpha_s, alpha_t (alpha_bar) of the step s -> t
sigma, w    sigma_s, w-bar_s
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.sampler import InversionKind, Sampler
from sde_edit.diffusion.denoiser import Denoiser, Project, at, no_edit
from sde_edit.diffusion.forward import forward_process
from sde_edit.diffusion.inversion import Inversion, encode_by_noising
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddpm
from sde_edit.errors import UserError
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class TextbookSDE(Sampler):
    """The reference for `sde`. One evaluation per step, order 1, SDE; without an inversion it is
    DDPM. The two agree in exact arithmetic. Here w is a difference of large numbers divided by
    a small sigma, so rounding errors are larger.
    """

    version: ClassVar[int] = 1
    order: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True
    inversion: ClassVar[InversionKind] = "exact"
    encodes_noiseless: ClassVar[bool] = False
    citation: ClassVar[Citation] = papers.NIE2024BLESSING

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Inversion:
        """Raises UserError if the grid ends without noise, where sigma is 0 and w has no value."""
        if grid.alpha[-1] == 1:
            raise UserError("Alg. 5 divides by sigma = 0 there: use grid.last_sigma=sigma_min")
        noised = encode_by_noising(eps, forward_process(x_BCHW, grid, noise), grid)
        x, (e,) = noised.states, noised.extra
        w = []
        for i, (_, a_s, a_t) in enumerate(grid.intervals()):
            mean, sigma = ddpm(x[i], e[i], a_s, a_t)
            w.append((x[i + 1] - mean) / sigma)
        return Inversion(x, (torch.stack(w),))

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, inversion: Inversion | None = None,
    ) -> Tensor:  # fmt: skip
        x = project(x_BCHW, 0)
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            e = at(eps, x, s)
            mean, sigma = ddpm(x, e, a_s, a_t)
            w = inversion.extra[0][i] if inversion else noise.like(x, "decode", i)
            x = project(mean + sigma * w, i + 1)
        return x
