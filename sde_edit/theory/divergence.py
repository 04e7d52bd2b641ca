"""Divergences between the edited and the model's own marginal, and the claims of Sec. 3.2.

code          paper
p, q          p~_t and p_t = q_t (Sec. 3.2 assumes that the model's score is exact)
kl            D_KL(p~_t || p_t)
fisher        D_Fisher(p~_t || p_t) = 1/2 E_p~ |grad log p~_t - grad log p_t|^2, as in Eq. 20
age           int g^2 dt from s to t > s, equal to log(alpha_s / alpha_t) for f = -g^2 x / 2 (D.4)
c             c_LSI(q_s), the constant of Eq. 22
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from scipy.interpolate import CubicSpline

from sde_edit.api.sampler import Sampler
from sde_edit.diffusion.schedule import Grid
from sde_edit.theory.density import NODES, Density, trajectory
from sde_edit.theory.mixture import Mixture


def kl(p: Density, data: Mixture, alpha: float) -> float:
    """D_KL(p || q_t) with q_t in closed form."""
    return p.expect(p.log_p_N - data.log_q(p.x_N, alpha))


def kl_between(p: Density, q: Density) -> float:
    """D_KL(p || q) of densities on different nodes; log q is interpolated by a cubic spline."""
    log_q = CubicSpline(q.x_N.numpy(), q.log_p_N.numpy())(p.x_N.numpy())
    return p.expect(p.log_p_N - torch.from_numpy(log_q))


def fisher(p: Density, data: Mixture, alpha: float) -> float:
    """D_Fisher(p || q_t); grad log p by second-order differences."""
    score_N = torch.gradient(p.log_p_N, spacing=(p.x_N,), edge_order=2)[0]
    return 0.5 * p.expect((score_N - data.score(p.x_N, alpha)) ** 2)


@dataclass(frozen=True)
class Descent:
    """D_KL and D_Fisher at every time of a grid."""

    grid: Grid
    kl: tuple[float, ...]
    fisher: tuple[float, ...]

    @property
    def drop(self) -> float:
        """The left side of Theorem 3.1: D_KL at the first time minus D_KL at the last."""
        return self.kl[0] - self.kl[-1]

    @property
    def integral(self) -> float:
        """The right side of Theorem 3.1: int g^2 D_Fisher dt, by the trapezoid rule in age."""
        age = [math.log(alpha) for alpha in self.grid.alpha]
        steps = zip(pairwise(self.fisher), pairwise(age), strict=True)
        return sum((f_t + f_s) / 2 * (age_s - age_t) for (f_t, f_s), (age_t, age_s) in steps)


def descent(p: Density, sampler: Sampler, data: Mixture, grid: Grid, nodes: int = NODES) -> Descent:
    """Carry p through the sampler and measure it against q_t at every time."""
    path = trajectory(p, sampler, data, grid, nodes)
    at = list(zip(path, grid.alpha, strict=True))
    return Descent(
        grid,
        tuple(kl(p_t, data, alpha) for p_t, alpha in at),
        tuple(fisher(p_t, data, alpha) for p_t, alpha in at),
    )


# ------------------------------------------------------------------ Prop. D.1
def bound(c: float, alpha_s: float, alpha_t: float) -> float:
    """Eq. 23: exp(-1/c int_s^t g^2), the factor on D_KL from t to s < t; holds for c >= 1."""
    return float((alpha_t / alpha_s) ** (1 / c))


def sharp_bound(c: float, alpha_s: float, alpha_t: float) -> float:
    """Eq. 23 with c_LSI(q_tau) = 1 + (alpha_tau / alpha_s)(c - 1) kept inside the integral.

    With a = alpha_t / alpha_s the factor is c a / (1 + a (c - 1)). It holds for every c > 0, and is
    never above Eq. 23 with max(c, 1).
    """
    a = alpha_t / alpha_s
    return c * a / (1 + a * (c - 1))


def order(errors: Sequence[float], refinements: Sequence[float]) -> float:
    """The exponent k of error ~ refinement^-k, from the last two pairs."""
    return -math.log(errors[-1] / errors[-2]) / math.log(refinements[-1] / refinements[-2])
