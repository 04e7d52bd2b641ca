"""Edit-friendly DDPM inversion: Cycle-SDE on states whose noise is drawn anew at every time.

code                 Huberman-Spiegelglas et al. 2024
independent_noise    x_t = sqrt(alpha_t) x_0 + sqrt(1 - alpha_t) eps~_t, eps~_t anew for every t
decode_ddpm          x_{t-1} = mu_t(x_t) + sigma_t z_t; with an inversion, its own z_t
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.sampler import InversionKind, Sampler
from sde_edit.diffusion.cycle import decode_ddpm
from sde_edit.diffusion.denoiser import Denoiser, Project, no_edit
from sde_edit.diffusion.forward import independent_noise
from sde_edit.diffusion.inversion import Inversion, encode_by_noising
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class EditFriendly(Sampler):
    """Edit-friendly DDPM inversion (Huberman-Spiegelglas et al. 2024). One evaluation per step,
    order 1, SDE; without an inversion it is DDPM, as `sde`.

    Neighbouring states of the source differ by more than one step of the forward process, so the
    noise that leads from one to the next has a larger variance and depends more on the image. It
    therefore holds on to the image more than that of Cycle-SDE.

    decode takes the difference form of `sde`, in which that noise cancels: what was not edited
    comes out bit for bit, in any dtype and at any guidance.
    """

    version: ClassVar[int] = 1
    order: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True
    inversion: ClassVar[InversionKind] = "exact"
    citation: ClassVar[Citation] = papers.HUBERMAN2024EDIT

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Inversion:
        return encode_by_noising(eps, independent_noise(x_BCHW, grid, noise), grid)

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, inversion: Inversion | None = None,
    ) -> Tensor:  # fmt: skip
        return decode_ddpm(eps, x_BCHW, grid, noise, project, inversion)
