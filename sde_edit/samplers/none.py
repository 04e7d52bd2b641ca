"""No sampler: the latent stays unchanged, so the output shows what the autoencoder alone does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sde_edit.api.sampler import InversionKind, Sampler
from sde_edit.diffusion.denoiser import Denoiser, Project, no_edit
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.errors import UserError
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class NoSampler(Sampler):
    """The upper bound for reconstructions (Table 3's VQAE). No evaluations of the network."""

    version: ClassVar[int] = 1
    order: ClassVar[int] = 0
    evaluations_per_step: ClassVar[int] = 0
    inversion: ClassVar[InversionKind] = "exact"
    citation: ClassVar[None] = None

    def check(self, *, inverts: bool, follows_source: bool, edits_states: bool) -> None:
        if not inverts or edits_states:
            raise UserError(
                "sampler=none shows what the autoencoder alone does, and is for tasks that encode "
                "an image and change only what the network is asked, such as task=reconstruct: "
                "use another sampler, such as ode or sde"
            )

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Inversion:
        return Inversion(x_BCHW.expand(len(grid.t), *x_BCHW.shape))

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, inversion: Inversion | None = None,
    ) -> Tensor:  # fmt: skip
        for i in range(len(grid.t)):
            x_BCHW = project(x_BCHW, i)
        return x_BCHW
