"""Rex: DDIM made reversible by a second state (McCallum and Foster's coupling).

code        Blasingame and Liu 2026 (data prediction; Euler's method; n counts from the noise)
x, y        x_n, x^_n: the two states
_x0         x_theta, the predicted x_0
a_s, a_t    alpha_bar at n, n + 1
ratio       sigma_{n+1} / sigma_n
pull        sigma_{n+1} h, with h the difference of alpha/sigma
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
from sde_edit.diffusion.steps import predict_x0
from sde_edit.errors import UserError
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class Rex(Sampler):
    """Rex (Blasingame and Liu 2026) with Euler's method, that is with DDIM. Two evaluations per
    step, order 1, ODE.

        x_{n+1} = sigma_{n+1} / sigma_n (zeta x_n + (1 - zeta) x^_n) + sigma_{n+1} h x_theta(x^_n)
        x^_{n+1} = sigma_{n+1} / sigma_n x^_n + sigma_{n+1} h x_theta(x_{n+1})

    zeta: coupling of the two states, above 0 and at most 1; the published code has 0.999. The last
    step of decode needs no x^ and takes one evaluation; encode starts from two equal states.

    x_theta is the x_0 that eps predicts: in the paper's other form, which steps along eps, the two
    states part under guidance. The inversion's extra is (x^,). The state is float64; encode divides
    by zeta in every step.
    """

    zeta: float = 0.999
    version: ClassVar[int] = 1
    order: ClassVar[int] = 1
    evaluations_per_step: ClassVar[int] = 2
    inversion: ClassVar[InversionKind] = "exact"
    encodes_noiseless: ClassVar[bool] = False
    citation: ClassVar[Citation] = papers.BLASINGAME2026REX

    def __post_init__(self) -> None:
        if not 0 < self.zeta <= 1:
            raise UserError(f"sampler.zeta={self.zeta}: must be above 0 and at most 1")

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Inversion:
        """Raises UserError if the grid ends without noise, where sigma is 0."""
        if grid.alpha[-1] == 1:
            raise UserError("Rex divides by sigma = 0 at alpha = 1: use grid.last_sigma=sigma_min")
        zeta, to_noise = self.zeta, grid.reversed()
        x = y = x_BCHW.double()
        path = [(x, y)]
        for i, (t, a_t, a_s) in enumerate(to_noise.intervals()):
            ratio, pull = _coefficients(a_s, a_t)
            y = (y - pull * _x0(eps, x, t, a_t)) / ratio
            x = (x - pull * _x0(eps, y, to_noise.t[i + 1], a_s)) / ratio
            x = (x - (1 - zeta) * y) / zeta
            path.append((x, y))
        return Inversion.of_pairs(path)

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, inversion: Inversion | None = None,
    ) -> Tensor:  # fmt: skip
        zeta, x = self.zeta, x_BCHW.double()
        y = inversion.extra[0][0] if inversion else x
        x, y = project(x, 0), project(y, 0)
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            ratio, pull = _coefficients(a_s, a_t)
            mixed = zeta * x + (1 - zeta) * y
            x = project(ratio * mixed + pull * _x0(eps, y, s, a_s), i + 1)
            if i + 1 < grid.steps:
                y = project(ratio * y + pull * _x0(eps, x, grid.t[i + 1], a_t), i + 1)
        return x.to(x_BCHW.dtype)


def _x0(eps: Denoiser, x: Tensor, t: float, alpha: float) -> Tensor:
    return predict_x0(x, at(eps, x, t), alpha)


def _coefficients(a_s: float, a_t: float) -> tuple[float, float]:
    """(ratio, pull) of the step s -> t towards data; finite at alpha_t = 1."""
    ratio = ((1 - a_t) / (1 - a_s)) ** 0.5
    return ratio, a_t**0.5 - ratio * a_s**0.5
