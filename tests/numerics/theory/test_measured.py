"""Errors of the samplers beside the theorems."""

import pytest

from sde_edit.samplers.ode import ODE
from sde_edit.samplers.sde import SDE
from sde_edit.theory import tables
from sde_edit.theory.divergence import order
from sde_edit.theory.mixture import SCHEDULES, cosine_grid, even_grid
from sde_edit.theory.plots import ARMS, between, left

SAMPLERS = {"ode": ODE(), "sde": SDE()}
NODES = {"ode": 8000, "sde": 500}


@pytest.mark.parametrize("kind", SAMPLERS)
def test_model_stays_at_its_own_marginal_to_first_order(kind):
    """Error 1/n in the density is 1/n^2 in D_KL."""
    steps = (25, 50, 100)
    errors = tables.own_errors(SAMPLERS[kind], NODES[kind], steps)
    assert errors[-1] < 1e-3
    assert order(errors, steps) == pytest.approx(2, abs=0.2)


def test_cycle_after_an_edit_that_sees_x_0_leaves_a_right_marginal():
    """The sign flip keeps p_t, so D_KL is 0 at t_0; Cycle-SDE ends elsewhere than q_0."""
    n, grid = 4000, cosine_grid(0.5, 0.01, 50)
    before, after = tables.flipped(grid, n, seed=0)
    assert tables.ks(before, grid.alpha[0]) < 1.63 / n**0.5
    assert tables.ks(after, grid.alpha[-1]) > 5 * 1.63 / n**0.5


def test_schedules_differ_in_their_pace_but_not_between_equal_noise_levels():
    """In the variable log alpha, Theorem 3.1 does not contain the schedule."""
    ode, sde = ARMS
    for schedule in SCHEDULES.values():
        assert left(ode, between(schedule, 5))[-1] == pytest.approx(1, abs=1e-5)
    equal = [left(sde, between(schedule, 10))[-1] for schedule in SCHEDULES.values()]
    assert max(equal) / min(equal) < 1.08
    paced = [left(sde, even_grid(s, 0.5, 0.2, 10))[-1] for s in SCHEDULES.values()]
    assert max(paced) / min(paced) > 2
