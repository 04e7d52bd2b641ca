"""The log-Sobolev constant of the mixture, on which Prop. D.1 rests.

Eq. 22 with the density q = f^2 p reads Ent_p(f^2) <= 2 c int f'^2 p, so
    c = sup over f of Ent_p(f^2) / (2 int f'^2 p),
    Ent_p(h) = int h log h p - (int h p) log(int h p).
Any f gives a lower bound; convexity up to a bounded perturbation gives an upper bound.

code        paper
c           c_LSI(q_0), Eq. 22
p_N         q_0 at evenly spaced nodes x_N, scaled to sum to 1
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal
from scipy.optimize import minimize
from torch import Tensor

from sde_edit.theory.mixture import Mixture

Vector = NDArray[np.float64]


def stated(data: Mixture) -> float:
    """App. E's bound as printed, with the standard deviation where the formula has sigma: 7.67."""
    return data.sigma * (1 + (math.exp(4 * data.mu**2 / data.sigma) + 1) / 4)


def stated_for_variance(data: Mixture) -> float:
    """App. E's bound with sigma^2, as its units require (c_LSI of N(0, v) is v): 7e8."""
    var = data.sigma**2
    return var * (1 + (math.exp(4 * data.mu**2 / var) + 1) / 4)


def _cells(data: Mixture, nodes: int) -> tuple[Tensor, Tensor, float]:
    """Evenly spaced nodes over q_0's mass, q_0 at them scaled to sum to 1, and their spacing."""
    reach = data.mu + 6 * data.sigma
    x_N = torch.linspace(-reach, reach, nodes, dtype=torch.float64)
    p_N = data.log_q(x_N, 1.0).exp()
    return x_N, p_N / p_N.sum(), 2 * reach / (nodes - 1)


def poincare(data: Mixture, nodes: int = 800) -> float:
    """The Poincare constant of q_0, the inverse of the spectral gap: a lower bound of c_LSI."""
    _, p_N, gap = _cells(data, nodes)
    p = p_N.numpy()
    between = (p[:-1] * p[1:]) ** 0.5 / gap**2
    stiffness = np.append(between, 0) + np.append(0, between)
    eigenvalues = eigh_tridiagonal(
        stiffness / p, -between / (p[:-1] * p[1:]) ** 0.5,
        eigvals_only=True, select="i", select_range=(0, 1),
    )  # fmt: skip
    return float(1 / eigenvalues[1])


def attained(data: Mixture, nodes: int = 100) -> float:
    """The largest ratio Ent / (2 int f'^2 p) that ascent over f finds: a lower bound of c_LSI."""
    x_N, p_N, gap = _cells(data, nodes)
    return max(_ascend(tilt * torch.tanh(4 * x_N), p_N, gap) for tilt in (0.1, 1.0, 4.0))


def _ascend(log_f_N: Tensor, p_N: Tensor, gap: float) -> float:
    """L-BFGS on log f, started where f is neither constant nor symmetric."""
    p_between = (p_N[:-1] * p_N[1:]) ** 0.5

    def loss(values: Vector) -> tuple[float, Vector]:
        leaf = torch.tensor(values, requires_grad=True)
        f_N = leaf.exp()
        mass = (f_N**2 * p_N).sum()
        entropy = (f_N**2 * p_N * (2 * leaf)).sum() - mass * mass.log()
        energy = (p_between * (f_N.diff() / gap) ** 2).sum()
        value = -torch.log(entropy / (2 * energy))
        return value.item(), torch.autograd.grad(value, leaf)[0].numpy()

    found = minimize(loss, log_f_N.numpy(), jac=True, method="L-BFGS-B", options={"maxiter": 3000})
    return float(math.exp(-found.fun))


def ceiling(data: Mixture, nodes: int = 3001) -> float:
    """An upper bound of c_LSI(q_0), by Bakry-Emery and Holley-Stroock.

    Let V = -log q_0. Replacing it by k x^2 / 2 + const on [-R, R], with k = V'(R) / R, makes
    V'' >= k everywhere (V'' grows with |x|), so the constant is at most 1 / k. Restoring V costs
    the factor exp(osc of V - k x^2 / 2 on [0, R]). Returns the minimum over R.
    """
    x_N = torch.linspace(1e-3, data.mu + 8 * data.sigma, nodes, dtype=torch.float64)
    v_N, k_N = -data.log_q(x_N, 1.0), -data.score(x_N, 1.0) / x_N
    return min(
        _perturbed(v_N[: i + 1] - k_N[i] * x_N[: i + 1] ** 2 / 2, float(k_N[i]))
        for i in range(nodes)
        if k_N[i] > 0
    )


def _perturbed(psi: Tensor, k: float) -> float:
    """exp(osc psi) / k."""
    return math.exp(min(float(psi.max() - psi.min()), 700.0)) / k
