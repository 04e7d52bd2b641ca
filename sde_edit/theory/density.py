"""Carries densities on the line through the samplers' own transition kernels, without sampling.

One step s -> t of a first-order sampler is x_t = m(x_s) + sigma_s w. The sampler itself gives the
mean m, its slope m' and sigma_s when it is called with noise that is 0 or 1. The step then changes
a density in two ways, both exact up to quadrature:
    m is increasing, so mass moves with its node:   p(m(x)) = p_s(x) / m'(x)
    the noise convolves with a Gaussian:            p_t(y) = int p_s(x) N(y | m(x), sigma_s^2) dx
The ODE needs only the first, which never interpolates the nodes.

code        paper
p           a marginal density: p~_t or p_t
x_N         its nodes, increasing, not evenly spaced; weight_N: their trapezoid weights
m, sigma    mean and noise of Eq. 6
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sde_edit.api.sampler import Sampler
from sde_edit.diffusion.denoiser import Denoiser
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.theory.mixture import Mixture, Prior

NODES = 800
_REACH = 8.5  # standard deviations of noise by which a grid extends beyond the means
_WIDEST = 1.25  # standard deviations of noise between two nodes; 3e-6 of a density is lost
_FLOOR = 37.0  # nodes below exp(-37) = 1e-16 of the peak are dropped

# The floor for densities whose logarithm is needed far from the peak; exp(-745) underflows.
LOW_FLOOR = 650.0


@dataclass(frozen=True)
class Density:
    """log p at the nodes x_N, float64. p is zero outside the nodes."""

    x_N: Tensor
    log_p_N: Tensor

    @property
    def weight_N(self) -> Tensor:
        """Trapezoid weights."""
        gaps = self.x_N.diff() / 2
        zero = gaps.new_zeros(1)
        return torch.cat([gaps, zero]) + torch.cat([zero, gaps])

    @property
    def mass_N(self) -> Tensor:
        """p dx: the mass of each node in an integral."""
        return self.weight_N * self.log_p_N.exp()

    def expect(self, f_N: Tensor) -> float:
        """The integral of p f."""
        return float((self.mass_N * f_N).sum())

    def cdf(self) -> Tensor:
        """The distribution function at the nodes, up to the trapezoid rule."""
        p = self.log_p_N.exp()
        return torch.cat([p.new_zeros(1), ((p[1:] + p[:-1]) / 2 * self.x_N.diff()).cumsum(0)])

    def trimmed(self, floor: float = _FLOOR) -> Density:
        """Drop the tails below exp(-floor) of the peak, which do not affect integrals of p."""
        inside = self.log_p_N > self.log_p_N.max() - floor
        return Density(self.x_N[inside], self.log_p_N[inside])


def even(log_p: Callable[[Tensor], Tensor], low: float, high: float, nodes: int) -> Density:
    """A density given in closed form, on evenly spaced nodes."""
    x_N = torch.linspace(low, high, nodes, dtype=torch.float64)
    return Density(x_N, log_p(x_N))


def of_prior(prior: Prior, nodes: int = NODES) -> Density:
    """A prior on evenly spaced nodes over its support."""
    return even(prior.log_p, *prior.support(), nodes)


def of_marginal(data: Mixture, alpha: float, nodes: int = NODES) -> Density:
    """q_t on evenly spaced nodes."""
    mu_t, var_t = data.moments(alpha)
    reach = mu_t + 8.6 * var_t**0.5
    return even(lambda x: data.log_q(x, alpha), -reach, reach, nodes)


# ------------------------------------------------------------------ the kernel of one step
@dataclass(frozen=True)
class _Fixed(Noise):
    """Noise that has the same value everywhere."""

    value: float = 0.0

    def like(self, x_BCHW: Tensor, purpose: str, step: int = 0) -> Tensor:
        return torch.full_like(x_BCHW, self.value)


@dataclass(frozen=True)
class Kernel:
    """x_t = m(x_s) + sigma w: the one step of `pair` by a single-step sampler."""

    sampler: Sampler
    eps: Denoiser
    pair: Grid

    def _decode(self, x_N: Tensor, w: float) -> Tensor:
        x_BCHW = x_N.view(1, 1, 1, -1)
        noise = _Fixed(0, (), value=w)
        return self.sampler.decode(self.eps, x_BCHW, self.pair, noise).view(-1)

    def mean(self, x_N: Tensor) -> Tensor:
        """m at the nodes."""
        return self._decode(x_N, 0.0)

    def slope(self, x_N: Tensor) -> Tensor:
        """m' at the nodes, by differentiating through the sampler."""
        leaf = x_N.clone().requires_grad_()
        return torch.autograd.grad(self.mean(leaf).sum(), leaf)[0]

    def sigma(self) -> float:
        """The standard deviation of the noise, which is the same for every x."""
        zero = torch.zeros(1, dtype=torch.float64)
        return float(self._decode(zero, 1.0) - self._decode(zero, 0.0))


def kernels(sampler: Sampler, data: Mixture, grid: Grid) -> Iterator[Kernel]:
    """One kernel per step of the grid."""
    eps = data.eps(grid)
    for i in range(grid.steps):
        yield Kernel(sampler, eps, Grid(grid.t[i : i + 2], grid.alpha[i : i + 2]))


# ------------------------------------------------------------------ densities through kernels
def pushforward(p: Density, kernel: Kernel) -> Density:
    """The density of m(x_s). Raises ValueError if m is not increasing on the nodes."""
    mean_N, slope_N = kernel.mean(p.x_N), kernel.slope(p.x_N)
    if not bool((slope_N > 0).all() and (mean_N.diff() > 0).all()):
        raise ValueError(f"the map from t = {kernel.pair.t[0]:g} is not increasing")
    return Density(mean_N, p.log_p_N - slope_N.log())


def convolve(p: Density, kernel: Kernel, nodes: int = NODES, floor: float = _FLOOR) -> Density:
    """The density of m(x_s) + sigma w on evenly spaced nodes. The cost grows with nodes^2.

    Raises ValueError if there are too few nodes: at spacing h the trapezoid rule loses the
    fraction exp(-2 (pi sigma / h)^2) of the mass.
    """
    mean_N, sigma = kernel.mean(p.x_N), kernel.sigma()
    if float(mean_N.diff().max()) > _WIDEST * sigma:
        raise ValueError(f"{nodes} nodes are too few for the noise at t = {kernel.pair.t[0]:g}")
    low, high = float(mean_N[0]) - _REACH * sigma, float(mean_N[-1]) + _REACH * sigma
    y_M = torch.linspace(low, high, nodes, dtype=torch.float64)
    gauss_MN = torch.exp(-0.5 * ((y_M[:, None] - mean_N) / sigma) ** 2)
    density_M = gauss_MN @ p.mass_N / (sigma * math.sqrt(2 * math.pi))
    return Density(y_M, density_M.log()).trimmed(floor)


def step(p: Density, kernel: Kernel, nodes: int = NODES, floor: float = _FLOOR) -> Density:
    """The density after one step of the sampler, with or without noise."""
    return convolve(p, kernel, nodes, floor) if kernel.sigma() > 0 else pushforward(p, kernel)


def trajectory(
    p: Density, sampler: Sampler, data: Mixture, grid: Grid,
    nodes: int = NODES, floor: float = _FLOOR,
) -> list[Density]:  # fmt: skip
    """The density at every time of the grid, starting with `p`."""
    path = [p]
    for kernel in kernels(sampler, data, grid):
        path.append(step(path[-1], kernel, nodes, floor))
    return path


def own_trajectory(
    prior: Prior, sampler: Sampler, data: Mixture, grid: Grid, nodes: int = 2 * NODES
) -> list[Density]:
    """p_t of the sampler itself, started at q_t, on nodes wide enough for p~_t from `prior`."""
    start = of_marginal(data, grid.alpha[0])
    low = min(float(start.x_N[0]), prior.support()[0])
    high = max(float(start.x_N[-1]), prior.support()[1])
    wide = even(lambda x: data.log_q(x, grid.alpha[0]), low, high, nodes)
    return trajectory(wide, sampler, data, grid, nodes, LOW_FLOOR)
