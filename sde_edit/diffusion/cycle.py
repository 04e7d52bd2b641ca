"""DDPM from noise to data and, beside an encoded source, the difference form of Cycle-SDE.

code        paper (Eq. 6 with eta = 1; Alg. 3 and 5)
x           x_s; with an inversion x~_s, and inversion.states[i] is the source's x_s
e           eps_theta(x_s, s); source_eps[i]: that of the source
a_s, a_t    alpha_s, alpha_t (alpha_bar) of the step s -> t
sigma, w    sigma_s, w-bar_s
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sde_edit.diffusion.denoiser import Denoiser, Project, at, no_edit
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddpm

if TYPE_CHECKING:
    from torch import Tensor


def decode_ddpm(
    eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
    project: Project = no_edit, inversion: Inversion | None = None,
) -> Tensor:  # fmt: skip
    """Alg. 3. With an inversion whose extra is (eps of its states,), Alg. 5 in difference form:

        x~_t = x_t + mean(x~_s - x_s, eps(x~_s) - eps(x_s)).

    This holds for states of any forward process, since the noise that leads from x_s to x_t cancels
    whatever its distribution.
    """
    x = project(x_BCHW, 0)
    for i, (s, a_s, a_t) in enumerate(grid.intervals()):
        e = at(eps, x, s)
        if inversion:
            (source_eps,) = inversion.extra
            change, _ = ddpm(x - inversion.states[i], e - source_eps[i], a_s, a_t)
            x = inversion.states[i + 1] + change
        else:
            mean, sigma = ddpm(x, e, a_s, a_t)
            x = mean + sigma * noise.like(x, "decode", i)
        x = project(x, i + 1)
    return x
