"""Coupled BDIA: BDIA at gamma = 1 as two states of one time, which are mixed as EDICT's.

code        BDIA paper (Eq. 11 to 16 and 25)
z, y        z_i, and y_i = z_{i+1} - Delta(t_i -> t_{i+1} | z_i), where the step to z_{i-1} starts
p           EDICT's mixing weight
a_s, a_t    alpha_bar at t_i, t_{i-1}
_delta      Delta(t_i -> t_{i-1} | z_i), or the other way
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.sampler import InversionKind, Sampler
from sde_edit.diffusion.denoiser import Denoiser, Project, at, no_edit
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddim
from sde_edit.errors import UserError
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class CBDIA(Sampler):
    """Coupled BDIA, which Zhang et al. 2024 name (Remark 1). Two evaluations per step, ODE. Order 2
    at p = 1 on a grid that is uniform in lambda, otherwise between 1 and 2.

    The paper says of it that it extends EDICT, is reversible, takes two evaluations per step in
    general, and has BDIA at gamma = 1 as a special case. The rule here is derived from that, not
    taken from it. A step of Eq. 25 is
        z_{i-1} = y_i + Delta(t_i -> t_{i-1} | z_i),
        y_{i-1} = z_i - Delta(t_{i-1} -> t_i | z_{i-1}),
    and EDICT's Eq. 11 and 12 then mix the two. At p = 1 the second evaluation of a step is the
    first one of the next, and this is BDIA (use `bdia`). For p < 1 the mixing damps their
    difference, which BDIA lets grow under large guidance.

    p: mixing weight, above 0 and at most 1. The last step of decode needs no y_0: it takes one
    evaluation and no mixing. So encode starts with y_0 = z_0, as BDIA's Alg. 2.

    The inversion's extra is (y,). The state is float64: encode divides by p twice per step, so
    rounding errors grow in encode and, for p < 1, shrink in decode.
    """

    p: float = 0.93
    version: ClassVar[int] = 1
    evaluations_per_step: ClassVar[int] = 2
    inversion: ClassVar[InversionKind] = "exact"
    citation: ClassVar[Citation] = papers.ZHANG2024BDIA

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1:
            raise UserError(f"sampler.p={self.p}: must be above 0 and at most 1")

    @property
    def order(self) -> int:
        return 2 if self.p == 1 else 1

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Inversion:
        p, to_noise = self.p, grid.reversed()
        z = y = x_BCHW.double()
        path = [(z, y)]
        for i, (t, a_t, a_s) in enumerate(to_noise.intervals()):
            if i > 0:
                y = (y - (1 - p) * z) / p
                z = (z - (1 - p) * y) / p
            z, z_next = y + _delta(eps, z, t, a_t, a_s), z
            y = z_next - _delta(eps, z, to_noise.t[i + 1], a_s, a_t)
            path.append((z, y))
        return Inversion.of_pairs(path)

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, inversion: Inversion | None = None,
    ) -> Tensor:  # fmt: skip
        p, x = self.p, x_BCHW.double()
        y = inversion.extra[0][0] if inversion else x
        z, y = project(x, 0), project(y, 0)
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            z, z_prev = y + _delta(eps, z, s, a_s, a_t), z
            if i + 1 < grid.steps:
                y = z_prev - _delta(eps, z, grid.t[i + 1], a_t, a_s)
                z = p * z + (1 - p) * y
                y = project(p * y + (1 - p) * z, i + 1)
            z = project(z, i + 1)
        return z.to(x_BCHW.dtype)


def _delta(eps: Denoiser, z: Tensor, t: float, a: float, b: float) -> Tensor:
    """What a step of DDIM from z at time t, where alpha is a, to alpha b adds to z (Eq. 19, 21)."""
    return ddim(z, at(eps, z, t), a, b) - z
