"""The stored table of the theorems, on few steps and one prior."""

import math
from itertools import pairwise

import pytest

from sde_edit.samplers.sde import SDE
from sde_edit.theory import record
from sde_edit.theory.density import of_prior
from sde_edit.theory.divergence import descent
from sde_edit.theory.mixture import RIGHT, cosine_grid
from sde_edit.theory.plots import DATA, cycle_curve


@pytest.fixture(scope="module")
def rows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "PRIORS", (RIGHT,))
        patch.setattr(record, "STEPS", (6, 12, 100))
        patch.setattr(record, "CURVES", (6, 12))
        table = record.kl_table()
    return {(b.title, r.label): [c.value for c in r.cells] for b, r, *_ in table.cells()}


def test_arms_do_what_the_theorems_say_or_what_the_page_says_they_do(rows):
    factor = "greatest factor of the KL divergence in a step"
    left = "share of the KL divergence that is left"
    assert all(value < 1 for value in rows[factor, "SDE"][:2])
    assert rows[left, "ODE"][:2] == pytest.approx([1, 1], abs=1e-4)
    assert rows[factor, "Cycle-SDE"][1] == pytest.approx(1.29, abs=0.01)  # rises at 12 steps
    bounds = rows[left, "bound of Eq. 23"]
    assert all(
        value < limit for value, limit in zip(rows[left, "SDE"][:2], bounds[:2], strict=True)
    )
    assert rows[factor, "SDE"][2] is None


def test_numbers_are_those_of_the_curves(rows):
    grid = cosine_grid(0.5, 0.02, 12)
    curve = cycle_curve(RIGHT, DATA, grid)
    left = rows["share of the KL divergence that is left", "Cycle-SDE"]
    assert left[1] == curve[-1] / curve[0]
    factor = rows["greatest factor of the KL divergence in a step", "Cycle-SDE"]
    assert factor[1] == max(b / a for a, b in pairwise(curve))


def test_both_sides_of_eq_9(rows):
    found = descent(of_prior(RIGHT), SDE(), DATA, cosine_grid(0.5, 0.02, 100))
    assert rows["Theorem 3.1", "decrease of KL"][2] == found.drop
    assert rows["Theorem 3.1", "integral of g² D_Fisher"][2] == found.integral


def test_bdia_converges_to_the_second_order_and_ddim_to_the_first(rows):
    """From 12 to 100 steps the error falls by about (100 / 12) to the power of the order."""
    title = "mean error of the ODE's solution"
    for arm, order in (("BDIA-DDIM", 2), ("DDIM", 1)):
        _, few, many = rows[title, arm]
        assert math.log(few / many) / math.log(100 / 12) == pytest.approx(order, abs=0.15)
