"""Cycle-SDE on the toy: the joint density of the source and the edit, on a grid.

Eq. 8 puts the source's own noise into Eq. 6, so that source and edited point share it:
    x~_t = m(x~_s) + sigma w' and x_t = m(x_s) + sigma w'   give   d_t = m(x_s + d_s) - m(x_s)
for their difference d = x~ - x, which moves without noise. The source reverses the forward
process, x_t ~ q(x_t | x_s), which is known in closed form. So (x, d) is a Markov chain if the edit
depends on the source through x_{t_0} only. Here the edit is a fresh draw from a prior.

code        paper
x, d        x (the source) and x~ - x
joint_XD    the density of (x, d) at X nodes of x and D nodes of d, each evenly spaced
q_YX        q(x_t | x_s), Bayes' rule on Eq. 7; y = x_t
m           the mean of Eq. 6 with eta = 1
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from torch import Tensor

from sde_edit.api.sampler import Sampler
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.theory.density import Density, Kernel, kernels
from sde_edit.theory.mixture import Mixture, Normal, log_normal

Array = NDArray[np.float64]
_FLOOR = 1e-14  # columns of d below this fraction of the peak are dropped


@dataclass(frozen=True)
class Joint:
    """The density of (x, d) on evenly spaced nodes; zero outside."""

    x_X: Array
    d_D: Array
    joint_XD: Array

    def edited(self, nodes: int = 800) -> Density:
        """The marginal of x~ = x + d: p~_t."""
        low, high = self.x_X[0] + self.d_D[0], self.x_X[-1] + self.d_D[-1]
        u_U = np.linspace(low, high, nodes)
        rows = zip(self.joint_XD, self.x_X, strict=True)
        p_U = sum(_at(self.d_D, row, u_U - x) for row, x in rows) * (self.x_X[1] - self.x_X[0])
        with np.errstate(divide="ignore"):
            log_p_U = np.log(np.maximum(p_U, 0))
        return Density(torch.from_numpy(u_U), torch.from_numpy(log_p_U)).trimmed()


def _at(nodes: Array, values: Array, points: Array) -> Array:
    """Cubic interpolation; zero outside the nodes."""
    inside: Array = CubicSpline(nodes, values)(np.clip(points, nodes[0], nodes[-1]))
    return np.where((points >= nodes[0]) & (points <= nodes[-1]), inside, 0.0)


def fresh_draw(data: Mixture, prior: Normal, alpha: float, x_nodes: int, d_nodes: int) -> Joint:
    """x ~ q_t and x~ ~ prior, independent."""
    x_X = _source_nodes(data, alpha, x_nodes)
    reach = x_X[-1]
    d_D = np.linspace(prior.mean - 7 * prior.sd - reach, prior.mean + 7 * prior.sd + reach, d_nodes)
    x = torch.from_numpy(x_X)[:, None]
    log_joint_XD = data.log_q(x, alpha) + prior.log_p(x + torch.from_numpy(d_D))
    return Joint(x_X, d_D, log_joint_XD.exp().numpy())


def step(joint: Joint, data: Mixture, kernel: Kernel) -> Joint:
    """One step of the pair: first d by its map, along each row, then x by q(x_t | x_s)."""
    z_XD, stretched_XD = _moved(joint, kernel)
    low, high = _range(z_XD, stretched_XD)
    d_D = np.linspace(low, high, len(joint.d_D))
    rows = zip(z_XD, stretched_XD, strict=True)
    moved_XD = np.array([_at(z_D, row, d_D) for z_D, row in rows])
    y_Y = _source_nodes(data, kernel.pair.alpha[1], len(joint.x_X))
    q_YX = backward(data, kernel.pair, y_Y, joint.x_X)
    return Joint(y_Y, d_D, q_YX @ moved_XD * (joint.x_X[1] - joint.x_X[0]))


def _moved(joint: Joint, kernel: Kernel) -> tuple[Array, Array]:
    """The image of each node of d, row by row, and the density there."""
    x = torch.from_numpy(joint.x_X)
    edited = (x[:, None] + torch.from_numpy(joint.d_D)).reshape(-1)
    shape = joint.joint_XD.shape
    z_XD = kernel.mean(edited).reshape(shape) - kernel.mean(x)[:, None]
    return z_XD.numpy(), joint.joint_XD / kernel.slope(edited).reshape(shape).numpy()


def _range(z_XD: Array, density_XD: Array) -> tuple[float, float]:
    """The interval of d that holds all mass above the floor."""
    kept = z_XD[density_XD > _FLOOR * density_XD.max()]
    return float(kept.min()), float(kept.max())


def _source_nodes(data: Mixture, alpha: float, nodes: int) -> Array:
    mu_t, var_t = data.moments(alpha)
    reach = mu_t + 7 * var_t**0.5
    return np.linspace(-reach, reach, nodes)


def backward(data: Mixture, pair: Grid, y_Y: Array, x_X: Array) -> Array:
    """q(x_t | x_s) = q_t(x_t) N(x_s | sqrt(a) x_t, 1 - a) / q_s(x_s) with a = alpha_s / alpha_t."""
    a_s, a_t = pair.alpha
    a = a_s / a_t
    y, x = torch.from_numpy(y_Y)[:, None], torch.from_numpy(x_X)
    forward_YX = log_normal(x - a**0.5 * y, 0.0, 1 - a)
    log_q_YX = data.log_q(y, a_t) + forward_YX - data.log_q(x, a_s)
    q_YX: Array = log_q_YX.exp().numpy()
    return q_YX


def trajectory(
    prior: Normal, sampler: Sampler, data: Mixture, grid: Grid,
    x_nodes: int = 240, d_nodes: int = 480,
) -> list[Density]:  # fmt: skip
    """p~_t at every time of the grid, from a fresh draw of the prior at its first."""
    joint = fresh_draw(data, prior, grid.alpha[0], x_nodes, d_nodes)
    path = [joint.edited()]
    for kernel in kernels(sampler, data, grid):
        joint = step(joint, data, kernel)
        path.append(joint.edited())
    return path


# ------------------------------------------------------------------ an edit that depends on x_0
def source_path(x_0: Tensor, grid: Grid, noise: Noise) -> list[Tensor]:
    """Eq. 7 from x_0: x at every time of the grid, noisiest first."""
    path = [x_0]
    for i in range(grid.steps, 0, -1):
        a = grid.alpha[i - 1] / grid.alpha[i]
        w = noise.like(x_0, "encode", i)
        path.insert(0, a**0.5 * path[0] + (1 - a) ** 0.5 * w)
    return path


def edited_path(
    start: Tensor, source: list[Tensor], sampler: Sampler, data: Mixture, grid: Grid
) -> Tensor:
    """x~_0 of Cycle-SDE, [N], from x~ = `start` with the noise that `source` recorded (Alg. 5)."""
    x_N = start.view(-1)
    rows = [row.view(-1) for row in source]
    for kernel, (x_s, x_t) in zip(kernels(sampler, data, grid), pairwise(rows), strict=True):
        x_N = x_t + kernel.mean(x_N) - kernel.mean(x_s)
    return x_N


def sign_flip(x_t: Tensor, x_0: Tensor, alpha: float) -> Tensor:
    """sqrt(1 - alpha) eps - sqrt(alpha) x_0: the source negated under the same noise.

    q_0 is symmetric, so p~_t = p_t and D_KL is 0 at t; but the recorded noise depends on x_0.
    """
    flipped: Tensor = x_t - 2 * alpha**0.5 * x_0
    return flipped
