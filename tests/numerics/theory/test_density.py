"""Kernels read off the samplers, and densities moved by them."""

import math

import numpy as np
import pytest
import torch

from sde_edit.diffusion.noise import Noise
from sde_edit.samplers.ode import ODE
from sde_edit.samplers.sde import SDE
from sde_edit.theory import plots
from sde_edit.theory.density import (
    Kernel,
    convolve,
    kernels,
    of_prior,
    pushforward,
    trajectory,
)
from sde_edit.theory.mixture import PRIORS, RIGHT, Mixture, cosine_grid

DATA = Mixture()
SAMPLERS = {"ode": ODE(), "sde": SDE()}
NODES = {"ode": 8000, "sde": 500}


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_a_prior_and_its_draws_agree(prior):
    w = torch.from_numpy(np.random.default_rng(0).standard_normal(4000))
    p = of_prior(prior, 2000)
    assert float(p.mass_N.sum()) == pytest.approx(1, abs=1e-9)
    assert distance(prior.sample(w), p) < 1.63 / 4000**0.5


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("pair", [(1.0, 0.99), (0.5, 0.48), (0.04, 0.02)])
def test_kernel_is_the_sampler_to_round_off(kind, pair):
    """m + sigma w, read off the sampler, against Eq. 6 written out and against a noisy run."""
    grid = cosine_grid(*pair, 1)
    (kernel,) = kernels(SAMPLERS[kind], DATA, grid)
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    mean, sigma = equation6(x, *grid.alpha, eta=float(kind == "sde"))
    torch.testing.assert_close(kernel.mean(x), mean, rtol=1e-13, atol=1e-13)
    assert kernel.sigma() == pytest.approx(sigma, abs=1e-14)
    noise = Noise(0, ("a",))
    row = x.view(1, 1, 1, -1)
    run = SAMPLERS[kind].decode(DATA.eps(grid), row, grid, noise)
    w = noise.like(row, "decode", 0)
    torch.testing.assert_close(run, mean + sigma * w, rtol=1e-13, atol=1e-13)


def equation6(x, a_s, a_t, *, eta):
    eps = -math.sqrt(1 - a_s) * DATA.score(x, a_s)
    sigma = eta * math.sqrt((1 - a_t) / (1 - a_s)) * math.sqrt(1 - a_s / a_t)
    x_0 = (x - math.sqrt(1 - a_s) * eps) / math.sqrt(a_s)
    return math.sqrt(a_t) * x_0 + math.sqrt(1 - a_t - sigma**2) * eps, sigma


@pytest.mark.parametrize("kind", SAMPLERS)
def test_slope_is_the_derivative_of_the_mean_and_positive(kind):
    """Both means are a posterior mean of x_0 plus x, with weights > 0: increasing at any step."""
    x, h = torch.linspace(-4, 4, 33, dtype=torch.float64), 1e-5
    for steps in (1, 3, 40):
        for kernel in kernels(SAMPLERS[kind], DATA, cosine_grid(0.9, 0.0, steps)):
            difference = (kernel.mean(x + h) - kernel.mean(x - h)) / (2 * h)
            torch.testing.assert_close(kernel.slope(x), difference, rtol=1e-6, atol=1e-6)
            assert float(kernel.slope(x).min()) > 0


def test_pushforward_refuses_a_map_that_folds():
    pair = cosine_grid(0.5, 0.1, 1)
    kernel = Kernel(ODE(), lambda x, t: 3 * torch.sin(9 * x), pair)
    with pytest.raises(ValueError, match="not increasing"):
        pushforward(of_prior(RIGHT), kernel)


def test_convolve_refuses_nodes_that_miss_the_noise():
    """Without the error 800 nodes over a wide range at 400 steps silently missed 1 % of D_KL."""
    (kernel,) = kernels(SDE(), DATA, cosine_grid(0.022, 0.02, 1))
    with pytest.raises(ValueError, match="60 nodes are too few"):
        convolve(of_prior(RIGHT, 60), kernel, 60)


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_densities_integrate_to_one(kind, prior):
    path = trajectory(of_prior(prior, NODES[kind]), SAMPLERS[kind], DATA, cosine_grid(1, 0, 40))
    assert [float(p.mass_N.sum()) for p in path] == pytest.approx([1.0] * 41, abs=2e-4)


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_sampled_histogram_agrees_with_the_propagated_density(kind, prior):
    """Kolmogorov-Smirnov at the 1 % level."""
    n, grid = 20_000, cosine_grid(1, 0, 40)
    x_0 = plots.samples(prior, SAMPLERS[kind], DATA, grid, n, seed=5)
    p = trajectory(of_prior(prior, NODES[kind]), SAMPLERS[kind], DATA, grid)[-1]
    assert distance(x_0, p) < 1.63 / n**0.5


def distance(x, p):
    """Kolmogorov-Smirnov distance of a sample from a density."""
    cdf = np.interp(np.sort(x.numpy()), p.x_N.numpy(), p.cdf().numpy())
    steps = np.arange(len(x) + 1) / len(x)
    return max(np.abs(cdf - steps[1:]).max(), np.abs(cdf - steps[:-1]).max())
