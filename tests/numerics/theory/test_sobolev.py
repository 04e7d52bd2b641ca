"""The constants of log-Sobolev and Poincaré inequalities."""

import pytest

from sde_edit.theory import sobolev
from sde_edit.theory.mixture import Mixture

DATA = Mixture()


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
    assert 0.7 < sobolev.attained(DATA, 20) < sobolev.ceiling(DATA, 601)
