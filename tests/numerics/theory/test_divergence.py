"""Divergences along the samplers: Theorems 3.1 and 3.2 and the bounds of Proposition D.1."""

import math
from itertools import pairwise

import pytest

from sde_edit.samplers.ode import ODE
from sde_edit.samplers.sde import SDE
from sde_edit.theory import sobolev
from sde_edit.theory.density import (
    of_prior,
    own_trajectory,
    trajectory,
)
from sde_edit.theory.divergence import bound, descent, fisher, kl, kl_between, order, sharp_bound
from sde_edit.theory.mixture import PRIORS, SHIFTED, Mixture, Normal, cosine, cosine_grid

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


def test_divergences_of_gaussians():
    """N(1, 2^2) from N(0, 1), both in closed form; mu = 0 makes the mixture one Gaussian."""
    p, one = of_prior(Normal(1, 2), 4000), Mixture(0, 1)
    assert kl(p, one, 0.3) == pytest.approx(0.5 * (4 + 1 - 1 - math.log(4)), abs=1e-9)
    assert kl_between(p, of_prior(Normal(0, 4), 4000)) == pytest.approx(
        0.5 * (4 / 16 + 1 / 16 - 1 - math.log(4 / 16)), abs=1e-7
    )
    assert fisher(p, one, 0.3) == pytest.approx(0.5 * ((1 - 1 / 4) ** 2 * 4 + 1), rel=1e-4)


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
