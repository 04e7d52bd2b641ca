"""What the toy says of the theorems of Sec. 3.2 and of BDIA's Theorem 1, as a stored table.

Densities go from 0.5 T to 0.02 T, from N(0, 1) and N(2, 2²), without sampling noise: every number
is known up to quadrature, so it has no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch

from sde_edit.api.sampler import Sampler
from sde_edit.diffusion.noise import Noise
from sde_edit.report.table import Block, Cell, Column, Table, split_into_rows, with_common_decimals
from sde_edit.samplers.bdia import BDIA
from sde_edit.samplers.ode import ODE
from sde_edit.samplers.sde import SDE
from sde_edit.theory import sobolev
from sde_edit.theory.density import NODES, of_marginal, of_prior
from sde_edit.theory.divergence import bound, descent
from sde_edit.theory.mixture import RIGHT, SHIFTED, Normal, cosine_grid
from sde_edit.theory.plots import ARMS, DATA, cycle_curve, kl_curve

STEPS = (12, 25, 50, 400)
CURVES = STEPS[:-1]  # the ODE needs 25 times the nodes, so its curves take too long with 400
PRIORS = (RIGHT, SHIFTED)
_ODE, _SDE = ARMS
_SOLVERS: dict[str, Sampler] = {"BDIA-DDIM": BDIA(gamma=1.0), "DDIM": ODE()}


def kl_table() -> Table:
    """D_KL of ODE, SDE and Cycle-SDE, its bound, both sides of Eq. 9, and the error of BDIA.

    Takes half a minute.
    """
    places = [(prior, steps) for prior in PRIORS for steps in STEPS]
    curves = [_curves(*place) for place in places]
    arms = ("ODE", "SDE", "Cycle-SDE")

    def rows(of: Callable[[Sequence[float]], float]) -> dict[str, list[float | None]]:
        found = {arm: [of(c[arm]) if arm in c else None for c in curves] for arm in arms}
        return {**found, "unchanged": [1.0] * len(places)}

    left = rows(lambda curve: curve[-1] / curve[0])
    left["bound of Eq. 23"] = [_bound(steps) for _, steps in places]
    both = [descent(of_prior(p), SDE(), DATA, cosine_grid(0.5, 0.02, n)) for p, n in places]
    identity: dict[str, list[float | None]] = {
        "decrease of KL": [one.drop for one in both],
        "integral of g² D_Fisher": [one.integral for one in both],
    }
    return Table(
        name="theory_kl",
        title="The theorems on the mixture of App. E, from 0.5 T to 0.02 T",
        corner="edited density, steps",
        columns=tuple(Column(f"from {prior}", str(steps)) for prior, steps in places),
        blocks=(
            _block("greatest factor of the KL divergence in a step",
                   rows(lambda curve: max(s / t for t, s in pairwise(curve)))),
            _block("share of the KL divergence that is left", left),
            _block("Theorem 3.1", identity, None),
            _block(
                "mean error of the ODE's solution",
                {name: [_error(s, *place) for place in places] for name, s in _SOLVERS.items()},
            ),
        ),
        notes=tuple(_notes()),
    )  # fmt: skip


def _curves(prior: Normal, steps: int) -> dict[str, list[float]]:
    """D_KL at every time, of each arm; none where it would take too long."""
    if steps not in CURVES:
        return {}
    grid = cosine_grid(0.5, 0.02, steps)
    return {
        "ODE": kl_curve(_ODE, prior, DATA, grid),
        "SDE": kl_curve(_SDE, prior, DATA, grid),
        "Cycle-SDE": cycle_curve(prior, DATA, grid),
    }


def _bound(steps: int) -> float:
    """The factor of Eq. 23 with a constant that is safe for the mixture."""
    grid = cosine_grid(0.5, 0.02, steps)
    return bound(sobolev.ceiling(DATA), grid.alpha[-1], grid.alpha[0])


def _error(sampler: Sampler, prior: Normal, steps: int) -> float | None:
    """The mean of |x - x*| at 0.02 T over 201 points of [-2.5, 2.5] at 0.5 T.

    The exact solution x* keeps the distribution function: F_s(x*_s) = F_t(x_t). None for a prior
    whose points lie where F_t is 1 to within rounding.
    """
    if prior != RIGHT:
        return None
    grid = cosine_grid(0.5, 0.02, steps)
    x_BCHW = torch.linspace(-2.5, 2.5, 201, dtype=torch.float64).view(1, 1, 1, -1)
    start, end = (of_marginal(DATA, alpha, 25 * NODES) for alpha in (grid.alpha[0], grid.alpha[-1]))
    cdf = np.interp(x_BCHW.view(-1), start.x_N, start.cdf())
    exact = np.interp(cdf, end.cdf(), end.x_N)
    found = sampler.decode(DATA.eps(grid), x_BCHW, grid, Noise(0, ("toy",))).view(-1)
    return float(np.abs(found.numpy() - exact).mean())


def _block(
    title: str, rows: dict[str, list[float | None]], higher_is_better: bool | None = False
) -> Block:
    shown = with_common_decimals(Cell(value) for line in rows.values() for value in line)
    return Block(title, split_into_rows(list(rows), "arm", shown), higher_is_better)


def _notes() -> Iterator[str]:
    yield "Model: exact-score."
    yield "Data: mixture."
    yield (
        "Computed in float64 without sampling noise, so there are no intervals. ODE, SDE and "
        "Cycle-SDE: D_KL to the sampler's own density. Theorem 3.1: D_KL to q in closed form."
    )
    yield "Eq. 23 has the constant of Bakry-Émery and Holley-Stroock, which docs/theory.md derives."
