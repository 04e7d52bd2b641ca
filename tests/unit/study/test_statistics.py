"""The statistics of forced choices, against closed forms, `choix` and `krippendorff`."""

from __future__ import annotations

import choix
import krippendorff
import numpy as np
import pytest
from scipy.stats import binomtest, norm
from scipy.stats import t as student

from sde_edit.study.statistics import (
    bradley_terry,
    crossed,
    krippendorff_alpha,
    preference_interval,
    preference_p,
    standard_error,
    wilson,
)


def votes(raters: int, items: int, seed: int = 0, missing: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = (rng.random((raters, items)) < rng.random(items)).astype(float)
    found[rng.random((raters, items)) < missing] = np.nan
    return found


@pytest.mark.parametrize(("k", "n"), [(0, 7), (7, 7), (3, 10), (480, 600), (1, 2)])
def test_wilson_is_scipys(k, n):
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("seed", range(4))
def test_alpha_is_that_of_krippendorff(seed, missing):
    votes_RN = votes(5, 30, seed, missing)
    expected = krippendorff.alpha(reliability_data=votes_RN, level_of_measurement="nominal")
    assert krippendorff_alpha(votes_RN) == pytest.approx(expected, abs=1e-12)


def test_alpha_is_1_if_all_agree_and_unknown_where_it_is_not_defined():
    agreed_RN = np.tile(votes(1, 20), (4, 1))
    assert krippendorff_alpha(agreed_RN) == pytest.approx(1)
    assert krippendorff_alpha(np.ones((4, 20))) is None
    assert krippendorff_alpha(votes(1, 20)) is None
    assert krippendorff_alpha(np.full((0, 20), np.nan)) is None


@pytest.mark.parametrize("seed", range(3))
def test_strengths_are_those_of_choix(seed):
    wins_KK = np.random.default_rng(seed).integers(1, 40, (4, 4)).astype(float)
    np.fill_diagonal(wins_KK, 0)
    games = [(i, j) for i in range(4) for j in range(4) for _ in range(int(wins_KK[i, j]))]
    found = bradley_terry(wins_KK)
    assert found == pytest.approx(choix.opt_pairwise(4, games), abs=1e-5)


def test_strengths_of_two_arms_are_the_log_odds():
    strengths = bradley_terry(np.array([[0.0, 30.0], [10.0, 0.0]]))
    assert strengths is not None
    assert strengths[0] - strengths[1] == pytest.approx(np.log(3))


def test_an_arm_that_never_loses_has_no_strength():
    wins_KK = np.array([[0.0, 5, 5], [0, 0, 3], [0, 2, 0]])
    assert bradley_terry(wins_KK) is None


def test_crossed_variance_is_that_of_owen():
    """The bootstrap's variance of a mean in closed form: Owen 2007, Theorem 2, for full data."""
    votes_RN = votes(6, 40)
    resampling = crossed(6, 40, 20_000)
    centred_RN = votes_RN - votes_RN.mean()
    rows, columns = centred_RN.mean(axis=1), centred_RN.mean(axis=0)
    expected = (
        (rows**2).mean() / 6 * (1 - 1 / 40)
        + (columns**2).mean() / 40 * (1 - 1 / 6)
        + (centred_RN**2).mean() / (6 * 40)
    )
    assert resampling.means(votes_RN).var() == pytest.approx(expected, rel=0.05)


def test_a_missing_vote_is_left_out_of_both_sums():
    votes_RN = np.array([[1.0, 0.0, np.nan], [1.0, np.nan, 0.0]])
    resampling = crossed(2, 3, 500)
    weights = [
        np.outer(r, n) for r, n in zip(resampling.raters_BR, resampling.items_BN, strict=True)
    ]
    there = np.isfinite(votes_RN)
    expected = [
        (w[there] @ votes_RN[there]) / w[there].sum() if w[there].sum() else np.nan for w in weights
    ]
    np.testing.assert_allclose(resampling.means(votes_RN), expected)


def test_resamplings_depend_on_the_numbers_alone():
    np.testing.assert_array_equal(crossed(3, 4, 10).items_BN, crossed(3, 4, 10).items_BN)
    assert (crossed(3, 4, 10).raters_BR.sum(axis=1) == 3).all()


def test_interval_is_students_of_the_bootstraps_error():
    votes_RN = votes(8, 50)
    resampling = crossed(8, 50)
    error = standard_error(resampling.means(votes_RN))
    assert error == pytest.approx(resampling.means(votes_RN).std(ddof=1))
    half = student.ppf(0.975, 7) * error
    mean = votes_RN.mean()
    assert preference_interval(votes_RN, resampling) == pytest.approx((mean - half, mean + half))
    assert preference_interval(votes_RN[:1], crossed(1, 50)) is None


@pytest.mark.parametrize("shift", [0.0, 0.15, 0.4])
def test_p_is_that_of_the_interval(shift):
    rng = np.random.default_rng(1)
    votes_RN = (rng.random((8, 50)) < 0.5 + shift).astype(float)
    resampling = crossed(8, 50)
    error = standard_error(resampling.means(votes_RN))
    p = preference_p(votes_RN, resampling)
    assert p == pytest.approx(2 * student.sf(abs(votes_RN.mean() - 0.5) / error, 7))
    low, high = preference_interval(votes_RN, resampling) or (0, 0)
    assert (p < 0.05) == (not low <= 0.5 <= high)


@pytest.mark.parametrize("raters", [2, 6])
def test_votes_that_all_agree_are_as_sure_as_their_number_allows(raters):
    votes_RN = np.ones((raters, 50))
    resampling = crossed(raters, 50)
    independent = (1 - wilson(50 * raters, 50 * raters)[0]) / (2 * norm.ppf(0.975))
    half = student.ppf(0.975, raters - 1) * independent
    assert preference_interval(votes_RN, resampling) == pytest.approx((1 - half, 1))
    assert preference_p(votes_RN, resampling) > 0
