"""DDIM, the first-order ODE sampler, and its inversion.

code        paper (Eq. 6 with eta = 0; Alg. 2 and 4)
x           x_s
e           eps_theta(x_s, s)
a_s, a_t    alpha_s, alpha_t (alpha_bar) of the step s -> t
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.sampler import InversionKind, Sampler
from sde_edit.diffusion.denoiser import Denoiser, Project, at, no_edit
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddim
from sde_edit.errors import UserError
from sde_edit.registry import UNLESS_DEFAULT, Natural, plugin

if TYPE_CHECKING:
    from torch import Tensor


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
    fixed_point: iterations of x_t <- ddim(x_s, eps(x_t, t)), x_t the noisier end, in every step of
    encode; each is a further evaluation. They start from the step that `inversion_time` says. The
    fixed point is the state from which decode returns to x_s exactly (AIDI, Pan et al. 2023;
    Meiri et al. 2023). `end` takes x_s for the first x_t, so `end` with n - 1 iterations is AIDI
    with n, and ReNoise with n renoising steps, of which only the last counts.

    An iterate's residual |ddim(x_s, eps(x_t, t)) - x_t| is what decode misses x_s by, times
    sqrt(alpha_t / alpha_s). Where an iteration does not make it smaller, the map does not contract,
    as under large guidance; that example then keeps its iterate of the smallest residual. Only the
    last residual, which would cost an evaluation more, is not looked at.
    """

    inversion_time: Literal["start", "end"] = field(
        default="start", metadata={"identity": UNLESS_DEFAULT}
    )
    fixed_point: Natural = field(default=0, metadata={"identity": UNLESS_DEFAULT})
    version: ClassVar[int] = 1
    order: ClassVar[int] = 1
    inversion: ClassVar[InversionKind] = "approximate"
    citation: ClassVar[Citation] = papers.SONG2021DDIM

    @property
    def encode_evaluations_per_step(self) -> int:
        return 1 + self.fixed_point

    def check(self, *, inverts: bool, follows_source: bool, edits_states: bool) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if not inverts and value != setting.default:
                raise UserError(
                    f"sampler.{setting.name}={value} is for the way to noise, which this task "
                    f"does not take: leave it at {setting.default}"
                )

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Inversion:
        up, path = grid.reversed(), [x_BCHW]
        for (s, a_s, a_t), t in zip(up.intervals(), up.t[1:], strict=True):
            x = path[-1]
            asked = t if self.inversion_time == "end" else s
            first = ddim(x, at(eps, x, asked), a_s, a_t)
            path.append(self._fixed_point(eps, x, first, t, a_s, a_t))
        return Inversion(torch.stack(path[::-1]))

    def _fixed_point(
        self, eps: Denoiser, x: Tensor, x_t: Tensor, t: float, a_s: float, a_t: float
    ) -> Tensor:
        """x_t after the iterations; an example that got no closer keeps its best iterate."""
        best, least = x_t, x_t.new_full((len(x_t),), math.inf)
        for _ in range(self.fixed_point):
            again = ddim(x, at(eps, x_t, t), a_s, a_t)
            residual = (again - x_t).flatten(1).norm(dim=1)
            closer = (residual < least).view(-1, 1, 1, 1)
            best, x_t = torch.where(closer, x_t, best), torch.where(closer, again, best)
            least = torch.minimum(residual, least)
        return x_t

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, inversion: Inversion | None = None,
    ) -> Tensor:  # fmt: skip
        x = project(x_BCHW, 0)
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            e = at(eps, x, s)
            x = project(ddim(x, e, a_s, a_t), i + 1)
        return x
