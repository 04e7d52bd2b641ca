"""p-values and verdicts over families, against second implementations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import stats

from scripts.simulate_verdicts import FAMILIES, Family, holm, judge, simulated
from sde_edit.report.multiplicity import (
    LEVEL,
    benjamini_hochberg,
    normal_score,
    step_down_max_t,
    studentised,
    two_sided_p,
)

Floats = NDArray[np.float64]


@pytest.fixture
def rng() -> Generator:
    return np.random.default_rng(0)


def step_down_by_the_book(z: list[float], null: list[list[float]]) -> list[float]:
    """Romano and Wolf 2016, Alg. 4.2, one comparison after the other."""
    order = sorted(range(len(z)), key=lambda m: -abs(z[m]))
    adjusted, previous = [0.0] * len(z), 0.0
    for k, m in enumerate(order):
        count = sum(max(abs(row[j]) for j in order[k:]) >= abs(z[m]) for row in null)
        previous = max(previous, (count + 1) / (len(null) + 1))
        adjusted[m] = previous
    return adjusted


@pytest.mark.parametrize(("m", "b"), [(1, 20), (3, 50), (12, 99)])
def test_step_down_max_t_is_the_published_algorithm(rng: Generator, m: int, b: int) -> None:
    common = rng.normal(size=(b, 1))
    null = common + rng.normal(size=(b, m))
    z = rng.normal(size=m) * 3
    wanted = step_down_by_the_book(z.tolist(), null.tolist())
    assert step_down_max_t(z, null).tolist() == pytest.approx(wanted)


def test_equal_comparisons_need_no_correction(rng: Generator) -> None:
    null = rng.normal(size=(999, 1))
    alone = step_down_max_t(np.array([2.5]), null)
    together = step_down_max_t(np.full(40, 2.5), np.tile(null, 40))
    assert together == pytest.approx(np.full(40, alone[0]))


def test_the_smallest_adjusted_p_is_that_of_no_replicate_reaching(rng: Generator) -> None:
    adjusted = step_down_max_t(np.array([np.inf, 1.0]), rng.normal(size=(99, 2)))
    assert adjusted[0] == 0.01
    assert adjusted[1] > 0.1


def test_benjamini_hochberg_is_that_of_scipy(rng: Generator) -> None:
    p = rng.uniform(size=50) ** 3
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


def test_p_is_that_of_the_paired_t_test(rng: Generator) -> None:
    differences = rng.normal(0.2, 1.0, size=64)
    counts = rng.multinomial(64, np.full(64, 1 / 64), size=200_000)
    p = two_sided_p(float(differences.mean()), counts @ differences / 64, 64)
    assert p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=0.03)


def test_n_pairs_bound_p_from_below() -> None:
    """All signs alike: the sign test's p."""
    for n in (2, 5, 10):
        assert two_sided_p(1.0, np.full(100, 1.0), n) == stats.binomtest(n, n).pvalue
        assert two_sided_p(1.0, 1 + 1e-9 * np.arange(100.0), n) == 2.0 ** (1 - n)


def test_a_constant_replicate_has_no_spread_to_be_studentised_by() -> None:
    assert studentised(np.full(9, 0.3)).tolist() == [0.0] * 9
    assert studentised(np.array([1.0, 2.0, 3.0])).tolist() == [-1.0, 0.0, 1.0]


def test_the_normal_score_undoes_the_two_sided_p() -> None:
    assert normal_score(np.array([0.05, 1.0, 0.0])) == pytest.approx([1.959964, 0.0, np.inf])


# ------------------------------------------------------------------ error rate and power
@pytest.mark.parametrize("name", ["null", "null, correlated"])
def test_the_family_wise_error_rate_is_bounded(name: str) -> None:
    """300 families: a rate of .05 exceeds .09 with probability 1e-3."""
    family = replace(FAMILIES[name], comparisons=20)
    errors = [judge(one) for one in simulated(family, n=48, families=300, resamplings=199)]
    assert np.mean([found.max_t.any() for found in errors]) < 0.09
    assert np.mean([found.uncorrected.any() for found in errors]) > 0.2


def test_max_t_finds_more_than_holm_where_comparisons_are_correlated() -> None:
    family = Family(comparisons=20, correlation=0.9, effects=10, effect=0.35)
    found = [judge(one) for one in simulated(family, n=64, families=60, resamplings=499)]
    max_t, by_holm = (
        sum(one[:10].sum() for one in rule)
        for rule in zip(*((one.max_t, one.holm) for one in found), strict=True)
    )
    assert max_t > by_holm


def test_holm_steps_down() -> None:
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert LEVEL == 0.05
