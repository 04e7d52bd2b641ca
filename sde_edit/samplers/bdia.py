"""BDIA-DDIM: bidirectional integration of DDIM over neighbouring time slots; exactly invertible.

code                BDIA paper (Eq. 22, 24, 28; Alg. 1 and 2)
z_prev, z, z_next   z_{i+1}, z_i, z_{i-1}, from noise to data
e                   eps_theta(z_i, i)
a_prev, a, a_next   alpha_bar at these times (their alpha_t is our sqrt(alpha_bar))
ddim(z, e, a, b)    a_i z + b_i e for the next time, (z_i - b_{i+1} e) / a_{i+1} for the previous
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

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
from sde_edit.errors import UserError
from sde_edit.registry import UNLESS_DEFAULT, plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class BDIA(Sampler):
    """BDIA-DDIM (Zhang et al. 2024). One evaluation per step, ODE. Order 2 at gamma = 1 on a grid
    that is uniform in lambda, otherwise between 1 and 2; gamma = 0 is DDIM.

    gamma: weight of the backward estimate, from 0 to 1.
    ending: what decode returns. `state`: z_0, as in Alg. 1 and 2. `update`: one more update at the
    last time, to a further point of the same alpha,
        z_0 + gamma (z_1 - ddim(z_0, eps(z_0, t_0), alpha_0, alpha_1)),
    as in the published code; its mirror image, a step of the way up from that point to z_0, is the
    identity. `mean`: the mean of the two, in which most of the oscillation between neighbouring
    states cancels. Both cost an evaluation more. Where nothing was edited at gamma = 1, all three
    are the same in every bit.

    encode takes one step of DDIM inversion and then follows Eq. 28. The state is float64, and
    every update is rounded to multiples of 2^-40, so the sums are exact at gamma = 1: decode visits
    the states of encode bit by bit, whatever the network's dtype. At gamma < 1 rounding errors
    grow by 1 / gamma per step.
    """

    gamma: float = 1.0
    ending: Literal["state", "update", "mean"] = field(
        default="state", metadata={"identity": UNLESS_DEFAULT}
    )
    version: ClassVar[int] = 1
    inversion: ClassVar[InversionKind] = "exact"
    citation: ClassVar[Citation] = papers.ZHANG2024BDIA

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise UserError(f"sampler.gamma={self.gamma}: must be from 0 to 1")
        if self.gamma == 0 and self.ending != "state":
            raise UserError(
                f"sampler.ending={self.ending} has no effect at sampler.gamma=0, which is DDIM: "
                "use sampler.ending=state"
            )

    @property
    def order(self) -> int:
        return 2 if self.gamma == 1 else 1

    def check(self, *, inverts: bool, follows_source: bool, edits_states: bool) -> None:
        if inverts:
            self._check_inverse()
        if follows_source and self.ending != "state":
            raise UserError(
                f"sampler.ending={self.ending} asks the network once more where the last step "
                "ends, for which this task has no state of the source: use sampler.ending=state"
            )

    def _check_inverse(self) -> None:
        if self.gamma == 0:
            raise UserError("sampler.gamma=0 is DDIM, which has no exact inverse: use sampler=ode")

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Inversion:
        """Raises UserError for gamma = 0, which has no exact inverse."""
        self._check_inverse()
        to_noise = grid.reversed()
        z_next = on_lattice(x_BCHW.double())
        e = at(eps, z_next, to_noise.t[0])
        z = on_lattice(ddim(z_next, e, to_noise.alpha[0], to_noise.alpha[1]))
        path = [z_next, z]
        for t, a_next, a, a_prev in to_noise.triples():
            z_next, z = path[-2:]
            e = at(eps, z, t)
            path.append((z_next - self._update(z, e, a_prev, a, a_next)) / self.gamma)
        return Inversion(torch.stack(path[::-1]))

    def decode(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise,
        project: Project = no_edit, inversion: Inversion | None = None,
    ) -> Tensor:  # fmt: skip
        z_prev = project(on_lattice(x_BCHW.double()), 0)
        if inversion:
            # An edit of z_N enters z_{N-1} through the same step, with eps of the source.
            edit = z_prev - on_lattice(inversion.latent)
            z = project(inversion.states[1] + (grid.alpha[1] / grid.alpha[0]) ** 0.5 * edit, 1)
        else:
            e = at(eps, z_prev, grid.t[0])
            z = project(on_lattice(ddim(z_prev, e, grid.alpha[0], grid.alpha[1])), 1)
        for i, (t, a_prev, a, a_next) in enumerate(grid.triples()):
            e = at(eps, z, t)
            z_next = self.gamma * z_prev + self._update(z, e, a_prev, a, a_next)
            z_prev, z = z, project(z_next, i + 2)
        if self.ending != "state":
            further = project(self._further(eps, z, z_prev, grid), grid.steps)
            z = further if self.ending == "update" else (z + further) / 2
        return z.to(x_BCHW.dtype)

    def _further(self, eps: Denoiser, z: Tensor, z_prev: Tensor, grid: Grid) -> Tensor:
        """The point after z_0, by Eq. 24 between two equal alphas."""
        e = at(eps, z, grid.t[-1])
        back = on_lattice(ddim(z, e, grid.alpha[-1], grid.alpha[-2]))
        return z + self.gamma * (z_prev - back)

    def _update(self, z: Tensor, e: Tensor, a_prev: float, a: float, a_next: float) -> Tensor:
        """Eq. 24 without the term gamma z_{i+1}."""
        return on_lattice(ddim(z, e, a, a_next) - self.gamma * ddim(z, e, a, a_prev))
