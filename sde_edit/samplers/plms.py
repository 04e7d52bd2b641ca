"""PLMS, the pseudo linear multistep method: a DDIM step along eps combined over four times.

code        Liu et al. 2022, Eq. 9 to 12
x           x_s
e           eps_theta(x_s, s); past: eps at up to three earlier times, latest first
mixed       e', the Adams-Bashforth combination
a_s, a_t    alpha_bar of the step s -> t
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.sampler import Sampler
from sde_edit.diffusion.denoiser import Denoiser, Project, at, no_edit
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddim
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor

_ADAMS_BASHFORTH = (
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


@plugin
@dataclass(frozen=True)
class PLMS(Sampler):
    """PLMS (Liu et al. 2022) as Stable Diffusion runs it (diffusers' PNDM with `skip_prk_steps`).
    One evaluation per step and one more in the first step, an improved Euler step that stands in
    for the missing history and limits the order to 2; ODE.
    """

    version: ClassVar[int] = 1
    order: ClassVar[int] = 2
    citation: ClassVar[Citation] = papers.LIU2022PNDM

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, inversion: Inversion | None = None,
    ) -> Tensor:  # fmt: skip
        x = project(x_BCHW, 0)
        past: list[Tensor] = []  # the latest eps first
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            e = at(eps, x, s)
            if past:
                mixed = e * 0
                for c, e_k in zip(_ADAMS_BASHFORTH[len(past) - 1], [e, *past], strict=True):
                    mixed = mixed + c * e_k
            else:
                ahead = project(ddim(x, e, a_s, a_t), 1)
                mixed = (e + at(eps, ahead, grid.t[1])) / 2
            x = project(ddim(x, mixed, a_s, a_t), i + 1)
            past = [e, *past][:3]
        return x
