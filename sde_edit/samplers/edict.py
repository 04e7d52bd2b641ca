"""EDICT: two coupled DDIM states that update each other in turn; exactly invertible.

code        BDIA paper (Eq. 9 to 16)
z, y        z_i, y_i; in between, z^inter and y^inter
a_s, a_t    alpha_bar at t_i, t_{i-1}
ddim        a_i z + b_i e from a_s to a_t, and its inverse (z - b_i e) / a_i from a_t to a_s
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
class EDICT(Sampler):
    """EDICT (Wallace et al. 2023) in the form that Zhang et al. 2024 give.
    Two evaluations per step, order 1, ODE.

    p: mixing weight of the two states.
    alternate: which state moves first. true: y in the last step, and z and y in turn before it. If
    the number of steps is even, that is what the published code does. It counts from the noisiest
    time, so that an odd number starts with z too; then an inversion would not serve a smaller t_0.
    false: z in every step, as in the equations.

    The inversion's extra is (y,). The state is float64: encode divides by p twice per step, so
    rounding errors grow in encode and, for p < 1, shrink in decode.
    """

    p: float = 0.93
    alternate: bool = True
    version: ClassVar[int] = 2
    order: ClassVar[int] = 1
    evaluations_per_step: ClassVar[int] = 2
    inversion: ClassVar[InversionKind] = "exact"
    citation: ClassVar[Citation] = papers.WALLACE2023EDICT

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1:
            raise UserError(f"sampler.p={self.p}: must be above 0 and at most 1")

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Inversion:
        p, to_noise = self.p, grid.reversed()
        z = y = x_BCHW.double()
        path = [(z, y)]
        for i, (_, a_t, a_s) in enumerate(to_noise.intervals()):
            y = (y - (1 - p) * z) / p
            z = (z - (1 - p) * y) / p
            first, last = self._order(i)
            z, y = _moved(eps, (z, y), (last, first), to_noise.t[i + 1], a_t, a_s)
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
            z, y = _moved(eps, (z, y), self._order(grid.steps - i - 1), s, a_s, a_t)
            z = p * z + (1 - p) * y
            y = p * y + (1 - p) * z
            z, y = project(z, i + 1), project(y, i + 1)
        return z.to(x_BCHW.dtype)

    def _order(self, steps_after: int) -> tuple[int, int]:
        """Which of (z, y) moves first and which second, in a step of decode."""
        return (1, 0) if self.alternate and steps_after % 2 == 0 else (0, 1)


def _moved(
    eps: Denoiser, pair: tuple[Tensor, Tensor], order: tuple[int, int], s: float, a: float, b: float
) -> list[Tensor]:
    """Both states after a step from alpha a to b, one after the other, each by eps of the other."""
    states = list(pair)
    for k in order:
        states[k] = ddim(states[k], at(eps, states[1 - k], s), a, b)
    return states
