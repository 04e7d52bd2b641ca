"""Sizes of differences and of samples, against exact power."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sde_edit.report.multiplicity import LEAST, LEVEL, two_sided_p
from sde_edit.report.power import (
    POWER,
    detectable,
    paired_d,
    sample_size,
    sigma_of,
    superiority,
)


def power_of(difference: float, sigma: float, n: int) -> float:
    """Of a two-sided paired t-test at .05, by the noncentral t distribution."""
    bound, shift = stats.t.isf(0.025, n - 1), difference / sigma * n**0.5
    return float(stats.nct.sf(bound, n - 1, shift) + stats.nct.cdf(-bound, n - 1, shift))


@pytest.mark.parametrize("effect", [0.05, 0.2, 0.5, 1.0])
def test_the_sample_size_is_the_least_that_has_the_power(effect: float) -> None:
    n = sample_size(3 * effect, 3.0)
    exact = next(k for k in range(max(2, n - 3), n + 4) if power_of(effect, 1, k) >= POWER)
    assert abs(n - exact) <= 1
    assert sample_size(-3 * effect, 3.0) == n


@pytest.mark.parametrize("n", [8, 64, 1024])
def test_a_detectable_difference_is_seen_with_that_power(n: int) -> None:
    assert power_of(detectable(2.0, n), 2.0, n) == pytest.approx(POWER, abs=0.05 / n**0.5)
    assert sample_size(detectable(2.0, n) * 1.0001, 2.0) == n


def test_no_sample_is_too_small_to_decide() -> None:
    """However large the difference, n pairs have only 2^n patterns of signs."""
    assert sample_size(1000.0, 1.0) == LEAST
    certain = np.zeros(10)
    assert two_sided_p(1.0, certain, LEAST) <= LEVEL < two_sided_p(1.0, certain, LEAST - 1)


def test_sigma_follows_from_the_replicates_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(1.0, 2.0, size=50)
    counts = rng.multinomial(50, np.full(50, 1 / 50), size=20_000)
    sigma = sigma_of(counts @ differences / 50, 50)
    assert sigma == pytest.approx(differences.std(ddof=1), rel=0.02)


def test_effect_sizes() -> None:
    differences = np.array([1.0, 2.0, 0.0, -1.0])
    assert paired_d(differences) == pytest.approx(0.5 / np.std([1, 2, 0, -1], ddof=1))
    assert superiority(differences) == (2 + 0.5) / 4
    assert paired_d(np.array([1.0, 1.0])) is None
    assert paired_d(np.array([1.0])) is None
