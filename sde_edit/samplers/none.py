"""No sampler: the latent stays what it is, which leaves what the autoencoder alone does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sde_edit.diffusion.denoiser import Denoiser, Project, Tape, no_edit
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.registry import plugin


@plugin
@dataclass(frozen=True)
class NoSampler:
    """The bound of every reconstruction: Table 3's VQAE. No evaluations, whatever the steps."""

    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False
    order: ClassVar[int] = 0
    evaluations_per_step: ClassVar[int] = 0
    exact: ClassVar[bool] = True

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Tape:
        return (x_BCHW.expand(len(grid.t), *x_BCHW.shape),)

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, tape: Tape = (),
    ) -> Tensor:  # fmt: skip
        for i in range(len(grid.t)):
            x_BCHW = project(x_BCHW, i)
        return x_BCHW
