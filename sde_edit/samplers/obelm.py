"""O-BELM: the two-step method of least local error among those that run both ways explicitly.

code                 Wang et al. 2024 (O-BELM; their alpha_i is our sqrt(alpha_bar))
x_prev, x, x_next    x_{i+1}, x_i, x_{i-1}, from noise to data
e                    eps_theta(x_i, i)
a_prev, a, a_next    alpha_bar at these times
h_prev, h            h_{i+1}, h_i: differences of sigma/alpha over the step before x_i and after it
unit                 u_{i+1}, u_i, ...: the lattice of x_i consists of the multiples of 2^-40 u_i
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.sampler import InversionKind, Sampler
from sde_edit.diffusion.denoiser import Denoiser, Project, at, no_edit
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.lattice import on_lattice
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddim
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class OBELM(Sampler):
    """O-BELM (Wang et al. 2024). One evaluation per step, order 2 on every smooth grid, ODE.

        x_{i-1} = (h_i / h_{i+1})^2 (alpha_{i-1} / alpha_{i+1}) x_{i+1}
                  + (1 - (h_i / h_{i+1})^2) (alpha_{i-1} / alpha_i) x_i
                  - h_i (h_i + h_{i+1}) / h_{i+1} alpha_{i-1} eps(x_i, i)

    An error that alternates between neighbouring states is multiplied by (h_i / h_{i+1})^2 in every
    step of decode: it dies out where h falls towards the data, and grows likewise in encode. Large
    guidance makes it grow in decode all the same.

    encode takes one step of DDIM inversion and then solves the same equation for x_{i+1}. The state
    is float64. The factor of x_{i+1} is not 1, so every x_i is rounded in a unit u_i of its own,
    with u_{i-1} = (h_i / h_{i+1})^2 (alpha_{i-1} / alpha_{i+1}) u_{i+1}. In these units the factor
    is 1 and the sums are exact while x_i / u_i is below 2^11. decode then visits the states of
    encode bit by bit, whatever the network's dtype.
    """

    version: ClassVar[int] = 1
    order: ClassVar[int] = 2
    inversion: ClassVar[InversionKind] = "exact"
    citation: ClassVar[Citation] = papers.WANG2024BELM

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Inversion:
        to_noise, unit = grid.reversed(), _units(grid)[::-1]
        w = [on_lattice(x_BCHW.double() / unit[0])]
        x = unit[0] * w[0]
        first = ddim(x, at(eps, x, to_noise.t[0]), *to_noise.alpha[:2])
        w.append(on_lattice(first / unit[1]))
        for i, (t, a_next, a, a_prev) in enumerate(to_noise.triples()):
            x = unit[i + 1] * w[-1]
            update = _update(x, at(eps, x, t), a_prev, a, a_next)
            w.append(w[-2] - on_lattice(update / unit[i]))
        path = [u * w_i for u, w_i in zip(unit, w, strict=True)]
        return Inversion(torch.stack(path[::-1]))

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, inversion: Inversion | None = None,
    ) -> Tensor:  # fmt: skip
        unit = _units(grid)
        x_prev = project(x_BCHW.double(), 0)
        if inversion:
            # An edit of x_N enters x_{N-1} through the same step, with eps of the source.
            edit = x_prev - inversion.latent
            x = inversion.states[1] + (grid.alpha[1] / grid.alpha[0]) ** 0.5 * edit
        else:
            x = ddim(x_prev, at(eps, x_prev, grid.t[0]), *grid.alpha[:2])
        x = project(x, 1)
        for i, (t, a_prev, a, a_next) in enumerate(grid.triples()):
            update = _update(x, at(eps, x, t), a_prev, a, a_next)
            w_next = on_lattice(x_prev / unit[i]) + on_lattice(update / unit[i + 2])
            x_prev, x = x, project(unit[i + 2] * w_next, i + 2)
        return x.to(x_BCHW.dtype)


def _update(x: Tensor, e: Tensor, a_prev: float, a: float, a_next: float) -> Tensor:
    """The equation without the term of x_{i+1}."""
    h_prev, h = _steps(a_prev, a, a_next)
    ratio = h / h_prev
    update: Tensor = a_next**0.5 * ((1 - ratio**2) * x / a**0.5 - h * (1 + ratio) * e)
    return update


def _units(grid: Grid) -> list[float]:
    """u_i at every time of the grid. It is 1 at the last two times, so u_i does not depend on where
    the grid begins."""
    units = [1.0, 1.0]
    for _, a_next, a, a_prev in grid.reversed().triples():
        h_prev, h = _steps(a_prev, a, a_next)
        units.append(units[-2] * (h_prev / h) ** 2 * (a_prev / a_next) ** 0.5)
    return units[::-1]


def _steps(a_prev: float, a: float, a_next: float) -> tuple[float, float]:
    """(h_{i+1}, h_i)."""
    before, now, after = (((1 - alpha) / alpha) ** 0.5 for alpha in (a_prev, a, a_next))
    return before - now, now - after
