"""Sec. 3.2 of the paper on its own toy: kernels, densities, and the three theorems' numbers."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from sde_edit.diffusion.noise import Noise
from sde_edit.samplers.ode import ODE
from sde_edit.samplers.sde import SDE
from sde_edit.theory import cycle, figures, plots, sobolev, tables
from sde_edit.theory.density import (
    Kernel,
    convolve,
    kernels,
    of_prior,
    own_trajectory,
    pushforward,
    trajectory,
)
from sde_edit.theory.divergence import bound, descent, fisher, kl, kl_between, order, sharp_bound
from sde_edit.theory.mixture import PRIORS, RIGHT, SHIFTED, Mixture, Normal, cosine, cosine_grid

DATA = Mixture()
SAMPLERS = {"ode": ODE(), "sde": SDE()}
NODES = {"ode": 8000, "sde": 500}
HALFWAY = cosine_grid(0.5, 0.02, 25)


def own_kl(kind, prior, grid, nodes=None):
    """D_KL(p~_t || p_t) over t, p_t the sampler's own."""
    nodes = nodes or NODES[kind]
    path = trajectory(of_prior(prior, nodes), SAMPLERS[kind], DATA, grid, nodes)
    own = own_trajectory(prior, SAMPLERS[kind], DATA, grid, 2 * nodes)
    return [kl_between(p, q) for p, q in zip(path, own, strict=True)]


# ------------------------------------------------------------------ the toy itself


def test_cosine_is_the_product_of_the_clipped_betas():
    n = 1000
    f = [math.cos((i / n + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(n + 1)]
    betas = [min(1 - b / a, 0.999) for a, b in pairwise(f)]
    alpha = np.cumprod([1 - beta for beta in betas])
    assert cosine(0) == 1
    assert [cosine((i + 1) / n) for i in range(n)] == pytest.approx(alpha, rel=1e-9)


@pytest.mark.parametrize("alpha", [1.0, 0.4, 1e-6])
def test_score_is_the_gradient_of_log_q(alpha):
    x = torch.linspace(-3, 3, 61, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(DATA.log_q(x, alpha).sum(), x)
    torch.testing.assert_close(DATA.score(x.detach(), alpha), gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_a_prior_and_its_draws_agree(prior):
    w = torch.from_numpy(np.random.default_rng(0).standard_normal(4000))
    p = of_prior(prior, 2000)
    assert float(p.mass_N.sum()) == pytest.approx(1, abs=1e-9)
    assert distance(prior.sample(w), p) < 1.63 / 4000**0.5


# ------------------------------------------------------------------ kernels


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
    run = SAMPLERS[kind].decode(DATA.eps(grid), x.view(1, -1), grid, noise)
    w = noise.like(x.view(1, -1), "decode", 0)
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


# ------------------------------------------------------------------ densities


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_densities_integrate_to_one(kind, prior):
    path = trajectory(of_prior(prior, NODES[kind]), SAMPLERS[kind], DATA, cosine_grid(1, 0, 40))
    assert [float(p.mass_N.sum()) for p in path] == pytest.approx([1.0] * 41, abs=2e-4)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_model_stays_at_its_own_marginal_to_first_order(kind):
    """Error 1/n in the density is 1/n^2 in D_KL."""
    steps = (25, 50, 100)
    errors = tables.own_errors(SAMPLERS[kind], NODES[kind], steps)
    assert errors[-1] < 1e-3
    assert order(errors, steps) == pytest.approx(2, abs=0.2)


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


def test_divergences_of_gaussians():
    """N(1, 2^2) from N(0, 1), both in closed form; mu = 0 makes the mixture one Gaussian."""
    p, one = of_prior(Normal(1, 2), 4000), Mixture(0, 1)
    assert kl(p, one, 0.3) == pytest.approx(0.5 * (4 + 1 - 1 - math.log(4)), abs=1e-9)
    assert kl_between(p, of_prior(Normal(0, 4), 4000)) == pytest.approx(
        0.5 * (4 / 16 + 1 / 16 - 1 - math.log(4 / 16)), abs=1e-7
    )
    assert fisher(p, one, 0.3) == pytest.approx(0.5 * ((1 - 1 / 4) ** 2 * 4 + 1), rel=1e-4)


# ------------------------------------------------------------------ Theorem 3.1


@pytest.mark.parametrize("prior", PRIORS, ids=str)
@pytest.mark.parametrize("steps", [3, 25])
def test_sde_decreases_the_divergence_at_every_step(prior, steps):
    """The kernels are shared, so this holds at any number of steps, by data processing."""
    curve = own_kl("sde", prior, cosine_grid(0.5, 0.02, steps))
    assert all(b < a for a, b in pairwise(curve))


def test_two_sides_of_the_identity_meet():
    """First order in the steps, with the 1/2 of Eq. 20 inside D_Fisher."""
    steps = (25, 50, 100)
    found = [
        descent(of_prior(SHIFTED, 500), SDE(), DATA, cosine_grid(0.5, 0.02, n), 500) for n in steps
    ]
    errors = [abs(d.drop - d.integral) / d.drop for d in found]
    assert errors[-1] < 3e-3
    assert 0.8 < order(errors, steps) < 1.1


def test_the_integral_is_second_order_in_the_nodes():
    nodes = (200, 400, 1200)
    found = [descent(of_prior(SHIFTED, n), SDE(), DATA, HALFWAY, n).integral for n in nodes]
    errors = [abs(value - found[-1]) for value in found[:-1]]
    assert order(errors, nodes[:-1]) == pytest.approx(2, abs=0.4)


# ------------------------------------------------------------------ Theorem 3.2


@pytest.mark.parametrize("steps", [2, 10])
def test_ode_keeps_the_divergence_at_any_number_of_steps(steps):
    """Against its own p_t the only error is quadrature: second order in the nodes."""
    nodes, grid = (2000, 4000), cosine_grid(0.5, 0.0, steps)
    curves = [own_kl("ode", SHIFTED, grid, n) for n in nodes]
    errors = [max(abs(value - curve[0]) for value in curve) for curve in curves]
    assert errors[-1] < 1e-3
    assert order(errors, nodes) == pytest.approx(2, abs=0.3)


def test_ode_keeps_the_divergence_from_the_exact_marginal_as_steps_grow():
    steps = (50, 100, 200)
    start = of_prior(SHIFTED, 8000)
    grids = [cosine_grid(0.5, 0.02, n) for n in steps]
    ends = [kl(trajectory(start, ODE(), DATA, g)[-1], DATA, g.alpha[-1]) for g in grids]
    errors = [kl(start, DATA, cosine(0.5)) - end for end in ends]
    assert order(errors, steps) == pytest.approx(1, abs=0.1)


# ------------------------------------------------------------------ Proposition D.1


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_bounds_hold(prior):
    """At every time, for every constant that is known to be safe and for c = 1."""
    curve = own_kl("sde", prior, HALFWAY)
    a = HALFWAY.alpha
    for c in (1.0, sobolev.ceiling(DATA, 601), sobolev.stated(DATA)):
        assert all(k <= curve[0] * bound(c, a_s, a[0]) for k, a_s in zip(curve, a, strict=True))
        assert all(sharp_bound(c, a_s, a[0]) <= bound(c, a_s, a[0]) * (1 + 1e-12) for a_s in a)
    poincare = sobolev.poincare(DATA)
    assert curve[-1] < curve[0] * sharp_bound(poincare, a[-1], a[0])


def test_bound_is_reached_by_a_shifted_gaussian():
    """Data N(0, 1), c = 1: the shift is all, and it shrinks by sqrt(alpha_t / alpha_s)."""
    one, shifted = Mixture(0, 1), Normal(1.5, 1)
    path = descent(of_prior(shifted, 500), SDE(), one, HALFWAY, 500)
    a_t, *_, a_s = HALFWAY.alpha
    assert path.kl[0] == pytest.approx(1.5**2 / 2)
    # Eq. 6's variance of x_t falls short by a term of second order in the step.
    assert path.kl[-1] / path.kl[0] == pytest.approx(bound(1.0, a_s, a_t), rel=5e-3)


def test_bound_fails_for_a_constant_below_one():
    """Data N(0, 0.5^2): Prop. D.1's c >= 1 is needed; the sharper bound holds and is reached."""
    narrow, (a_t, *_, a_s) = Mixture(0, 0.5), HALFWAY.alpha
    shifted = Normal(1.5, narrow.moments(a_t)[1] ** 0.5)
    path = descent(of_prior(shifted, 500), SDE(), narrow, HALFWAY, 500)
    ratio, c = path.kl[-1] / path.kl[0], narrow.moments(a_s)[1]
    assert ratio == pytest.approx(sharp_bound(c, a_s, a_t), rel=0.02)
    assert ratio > 3 * bound(c, a_s, a_t)


def test_printed_constant_is_no_bound_in_general():
    for data in (Mixture(0, 2), Mixture(0.5, 0.1)):
        assert sobolev.stated(data) < 0.8 * sobolev.poincare(data)
        assert sobolev.poincare(data) < sobolev.stated_for_variance(data)


def test_constants_are_in_order():
    gaussian = Mixture(0, 1.5)
    assert sobolev.poincare(gaussian) == pytest.approx(1.5**2, rel=1e-3)
    assert sobolev.ceiling(gaussian) == pytest.approx(1.5**2, rel=1e-6)
    assert sobolev.poincare(DATA) < sobolev.ceiling(DATA) < sobolev.stated(DATA)
    assert sobolev.stated_for_variance(DATA) > 1e8


def test_ascent_finds_no_more_than_the_ceiling():
    assert 0.8 < sobolev.attained(DATA, 50) < sobolev.ceiling(DATA, 601)


# ------------------------------------------------------------------ Theorem 3.3


def test_cycle_joint_has_the_right_marginals():
    path = cycle.trajectory(RIGHT, SDE(), DATA, cosine_grid(0.5, 0.02, 6), 120, 240)
    assert [float(p.mass_N.sum()) for p in path] == pytest.approx([1] * 7, abs=1e-4)
    assert kl_between(path[0], of_prior(RIGHT)) == pytest.approx(0, abs=1e-7)


def test_cycle_from_a_fresh_draw_nears_the_sde():
    gaps = []
    for steps in (12, 24):
        grid = cosine_grid(0.5, 0.02, steps)
        path = cycle.trajectory(SHIFTED, SDE(), DATA, grid, 100, 280)
        sde = trajectory(of_prior(SHIFTED), SDE(), DATA, grid)
        gaps.append(kl_between(path[-1], sde[-1]))
    assert gaps[1] < 0.6 * gaps[0]


def test_cycle_of_few_steps_does_not_contract():
    """Theorem 3.3 taken for the sampler of Eq. 6: D_KL(p~_t || q_t) rises late in 12 steps."""
    grid = cosine_grid(0.5, 0.02, 12)
    coarse, fine = (
        [kl(p, DATA, a) for p, a in zip(path, grid.alpha, strict=True)]
        for path in (
            cycle.trajectory(RIGHT, SDE(), DATA, grid, 120, 240),
            cycle.trajectory(RIGHT, SDE(), DATA, grid, 160, 320),
        )
    )
    assert fine == pytest.approx(coarse, abs=1e-5)
    assert max(fine[9:]) > 1.5 * min(fine[6:9])


def test_cycle_after_an_edit_that_sees_x_0_leaves_a_right_marginal():
    """The sign flip keeps p_t, so D_KL is 0 at t_0; Cycle-SDE ends elsewhere than q_0."""
    n, grid = 4000, cosine_grid(0.5, 0.01, 50)
    before, after = tables.flipped(grid, n, seed=0)
    assert tables.ks(before, grid.alpha[0]) < 1.63 / n**0.5
    assert tables.ks(after, grid.alpha[-1]) > 5 * 1.63 / n**0.5


# ------------------------------------------------------------------ figures


def test_figures_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "HISTOGRAM_STEPS", 5)
    monkeypatch.setattr(plots, "SAMPLES", 500)
    monkeypatch.setattr(plots, "KL_STEPS", 3)
    for name, draw in figures().items():
        paths = draw(tmp_path)
        assert paths == [tmp_path / "figures" / f"{name}.{suffix}" for suffix in ("png", "svg")]
        assert all(path.stat().st_size > 1000 for path in paths)
