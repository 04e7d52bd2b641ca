"""DDIM, the first-order ODE sampler, and its inversion.

code        paper (Eq. 6 with eta = 0; Alg. 2 and 4)
x           x_s
e           eps_theta(x_s, s)
a_s, a_t    alpha_s, alpha_t (alpha_bar) of the step s -> t
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.sampler import InversionKind, Sampler
from sde_edit.diffusion.denoiser import Denoiser, Project, at, no_edit
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddim
from sde_edit.registry import UNLESS_DEFAULT, plugin


@plugin
@dataclass(frozen=True)
class ODE(Sampler):
    """DDIM (Song et al. 2021; the paper's Alg. 2). One evaluation per step, order 1, ODE.

    The ODE keeps the divergence between the edited and the model's own distribution constant
    (Theorem 3.2): what is wrong with the latent at t_0 is carried into the image.
    encode is DDIM inversion: the same step towards noise. decode evaluates eps at the noisier end
    of a step, which encode does not know yet. This makes it approximate at any precision.

    inversion_time: the time that encode passes to the network beside the state at the start of a
    step: `start`, the state's own (Alg. 4), or `end`, that of the noisier end, as in the published
    code of null-text inversion and DragDiffusion and in diffusers' DDIM inversion.
    """

    inversion_time: Literal["start", "end"] = field(
        default="start", metadata={"identity": UNLESS_DEFAULT}
    )
    version: ClassVar[int] = 1
    order: ClassVar[int] = 1
    inversion: ClassVar[InversionKind] = "approximate"
    citation: ClassVar[Citation] = papers.SONG2021DDIM

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Inversion:
        up, path = grid.reversed(), [x_BCHW]
        asked = up.t[1:] if self.inversion_time == "end" else up.t[:-1]
        for t, (_, a_s, a_t) in zip(asked, up.intervals(), strict=True):
            path.append(ddim(path[-1], at(eps, path[-1], t), a_s, a_t))
        return Inversion(torch.stack(path[::-1]))

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, inversion: Inversion | None = None,
    ) -> Tensor:  # fmt: skip
        x = project(x_BCHW, 0)
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            e = at(eps, x, s)
            x = project(ddim(x, e, a_s, a_t), i + 1)
        return x
