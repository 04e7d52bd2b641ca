"""Orders of convergence, measured."""

import math

import numpy as np
import pytest
import torch

from sde_edit.diffusion.denoiser import no_edit
from sde_edit.diffusion.schedule import Grid
from sde_edit.registry import build
from tests.numerics.samplers.inputs import SCHEDULE, decode, start

MEAN, VARIANCE = 1.5, 0.25


def gaussian_eps(alpha_of):
    """eps of data N(MEAN, VARIANCE): x_t is Gaussian with known mean and variance."""

    def eps(x, t):
        a = alpha_of(float(t[0]))
        return (1 - a) ** 0.5 * (x - a**0.5 * MEAN) / (a * VARIANCE + 1 - a)

    return eps


def cosine_alpha(t):
    return math.cos(t * math.pi / 2) ** 2


def smooth_grid(steps):
    """Evenly spaced in lambda between t = 0.9 and t = 0.1, where the solvers' order is defined."""
    ends = [0.5 * math.log(cosine_alpha(t) / (1 - cosine_alpha(t))) for t in (0.9, 0.1)]
    alpha = [1 / (1 + math.exp(-2 * lam)) for lam in np.linspace(*ends, steps + 1)]
    t = [2 / math.pi * math.acos(a**0.5) for a in alpha]
    return Grid(tuple(t), tuple(alpha))


def ode_error(kind, steps, **settings):
    """Distance to the exact solution of the ODE: z-scores under q_t are carried unchanged."""
    grid = smooth_grid(steps)
    x = start()

    def moments(a):
        return a**0.5 * MEAN, (a * VARIANCE + 1 - a) ** 0.5

    (m0, s0), (m1, s1) = moments(grid.alpha[0]), moments(grid.alpha[-1])
    exact = m1 + s1 * (x - m0) / s0
    return float(
        (decode(kind, grid, gaussian_eps(cosine_alpha), x, **settings) - exact).abs().max()
    )


ODES = [
    *[("ode", {}, 1), ("ode2", {}, 2), ("plms", {}, 2)],
    *[("bdia", {"gamma": 1.0}, 2), ("bdia", {"gamma": 0.5}, 1), ("bdia", {"gamma": 0.0}, 1)],
    *[("bdia", {"ending": ending}, 2) for ending in ("update", "mean")],
    ("obelm", {}, 2),
    *[("bdia_edm", {"gamma": gamma}, 2) for gamma in (0.0, 0.5, 1.0)],
    *[("cbdia", {"p": 1.0}, 2), ("cbdia", {"p": 0.5}, 1), ("rex", {"zeta": 1.0}, 1)],
    *[("edict", {"p": 0.93}, 1), ("edict", {"p": 1.0, "alternate": False}, 1)],
]


@pytest.mark.parametrize(("kind", "settings", "order"), ODES)
def test_order_of_convergence(kind, settings, order):
    errors = [ode_error(kind, steps, **settings) for steps in (32, 64, 128, 256)]
    slopes = -np.diff(np.log2(errors))
    assert slopes[-1] == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize(("kind", "order"), [("sde", 1), ("ef", 1), ("sde2", 2)])
def test_weak_order_of_the_variance(kind, order):
    """Linear eps: every step is affine in x, so the end's mean and variance follow exactly from
    the response to unit inputs, without sampling."""
    errors = []
    for steps in (32, 64, 128, 256):
        mean, variance = affine_moments(kind, smooth_grid(steps))
        a = smooth_grid(steps).alpha[-1]
        errors.append(abs(variance - (a * VARIANCE + 1 - a)) + abs(mean - a**0.5 * MEAN))
    assert -np.diff(np.log2(errors))[-1] > 0.85
    if order == 2:  # the drift is second order, the noise term first: smaller error all the same
        first = affine_moments("sde", smooth_grid(256))[1]
        a = smooth_grid(256).alpha[-1]
        assert errors[-1] < abs(first - (a * VARIANCE + 1 - a))


class Impulses:
    """Stands in for Noise: row i has 1 in step i, and 0 in every other step."""

    def like(self, x, purpose, step=0):
        rows = torch.arange(len(x)).view(-1, 1, 1, 1)
        return (rows == step).to(x.dtype).expand_as(x)


def affine_moments(kind, grid):
    """Mean and variance at the end, x_T ~ q_T: the final x is linear in x_T and every w."""
    starts = torch.zeros(grid.steps + 2, 1, 1, 1, dtype=torch.float64)
    starts[-1] = 1.0  # the last two rows have no noise
    sampler, eps = build("samplers", kind, {}), gaussian_eps(cosine_alpha)
    *ends, origin, top = sampler.decode(eps, starts, grid, Impulses(), no_edit).flatten().tolist()
    a, gain = grid.alpha[0], top - origin
    mean = origin + gain * a**0.5 * MEAN
    noise = sum((end - origin) ** 2 for end in ends)
    return mean, gain**2 * (a * VARIANCE + 1 - a) + noise


@pytest.mark.parametrize(
    "kind", ["ode", "ode2", "sde", "sde2", "plms", "bdia", "obelm", "bdia_edm", "rex"]
)
def test_a_grid_that_ends_at_alpha_1_leaves_no_noise(kind):
    """Of data that are one point: all that is left beside it at the end is noise."""
    point = 0.7

    def eps(x, t):
        a = SCHEDULE.alpha[int(t[0])]
        return (x - a**0.5 * point) / (1 - a) ** 0.5

    left = {
        end: float((decode(kind, SCHEDULE.grid(20, last_sigma=end), eps) - point).abs().mean())
        for end in ("sigma_min", "zero")
    }
    assert left["zero"] < 1e-9
    assert left["sigma_min"] > 0.5 * (1 - SCHEDULE.alpha[0]) ** 0.5
