"""DDPM, the first-order SDE sampler, and Cycle-SDE.

code               paper
forward_process    Eq. 7, the states of the source
decode_ddpm        Alg. 3; with an inversion Alg. 5
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.sampler import InversionKind, Sampler
from sde_edit.diffusion.cycle import decode_ddpm
from sde_edit.diffusion.denoiser import Denoiser, Project, no_edit
from sde_edit.diffusion.forward import forward_process
from sde_edit.diffusion.inversion import Inversion, encode_by_noising
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class SDE(Sampler):
    """DDPM (Ho et al. 2020; the paper's Alg. 3). One evaluation per step, order 1, SDE.

    The noise of every step contracts the divergence to the model's own distribution
    (Theorem 3.1), and so repairs an edited latent.

    With an inversion it is Cycle-SDE (Alg. 5), whose noise is the one that returns the source.
    Subtracting the source's Eq. 6 from the edit's cancels that noise: as the mean is linear,
        x~_t = x_t + mean(x~_s - x_s, eps(x~_s) - eps(x_s)).
    This form avoids the differences of large numbers in Alg. 5. Where nothing was edited x_t comes
    out bit for bit, in any dtype and at any guidance.
    """

    version: ClassVar[int] = 1
    order: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True
    inversion: ClassVar[InversionKind] = "exact"
    citation: ClassVar[Citation] = papers.HO2020DDPM

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Inversion:
        return encode_by_noising(eps, forward_process(x_BCHW, grid, noise), grid)

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, inversion: Inversion | None = None,
    ) -> Tensor:  # fmt: skip
        return decode_ddpm(eps, x_BCHW, grid, noise, project, inversion)
