"""The joint density of Cycle-SDE, Theorem 3.3."""

import pytest

from sde_edit.samplers.sde import SDE
from sde_edit.theory import cycle
from sde_edit.theory.density import (
    of_prior,
    trajectory,
)
from sde_edit.theory.divergence import kl, kl_between
from sde_edit.theory.mixture import RIGHT, SHIFTED, Mixture, cosine_grid

DATA = Mixture()


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
