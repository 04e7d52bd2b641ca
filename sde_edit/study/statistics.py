"""Statistics of forced choices between two edits, made by several raters on the same items.

Letters: R raters, N items, B resamplings, K arms. A vote is 1 for the first arm of a pair, 0 for
the second, and NaN where the rater has not answered.

Raters and items are both drawn from larger populations, and an interval must hold for others of
both. The crossed bootstrap (Owen 2007, "The pigeonhole bootstrap", Ann. Appl. Stat. 1) therefore
resamples both, independently of each other. docs/study.md has its coverage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

from sde_edit.diffusion.streams import named_generator

Floats = NDArray[np.float64]
RESAMPLINGS = 2000
_Z = float(ndtri(0.975))


# ------------------------------------------------------------------ the crossed bootstrap
@dataclass(frozen=True)
class Resampling:
    """How often each resampling draws each rater [B, R] and each item [B, N]."""

    raters_BR: Floats
    items_BN: Floats

    def means(self, votes_RN: Floats) -> Floats:
        """The mean vote [B] of each resampling; NaN for one without a vote."""
        there_RN = np.isfinite(votes_RN)
        total_B = self._weighted(np.where(there_RN, votes_RN, 0.0))
        count_B = self._weighted(there_RN.astype(np.float64))
        with np.errstate(invalid="ignore"):
            found: Floats = total_B / count_B
        return found

    def _weighted(self, values_RN: Floats) -> Floats:
        found: Floats = ((self.raters_BR @ values_RN) * self.items_BN).sum(axis=1)
        return found


def crossed(raters: int, items: int, resamplings: int = RESAMPLINGS) -> Resampling:
    """Resamplings of raters and items, which depend on their numbers alone."""
    rng = named_generator(f"crossed\x1f{raters}\x1f{items}")
    counts = [rng.multinomial(n, np.full(n, 1 / n), resamplings) for n in (raters, items)]
    return Resampling(*(count.astype(np.float64) for count in counts))


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (1927, JASA 22), as if all n answers were independent."""
    share, grown = successes / n, 1 + _Z**2 / n
    middle = (share + _Z**2 / (2 * n)) / grown
    half = _Z / grown * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def preference_interval(votes_RN: Floats, resampling: Resampling) -> tuple[float, float] | None:
    """95 % interval of the mean vote, for other raters and other items; None for one of either."""
    if min(votes_RN.shape) < 2:
        return None
    low, high = student_interval(*_estimate(votes_RN, resampling), min(votes_RN.shape))
    return max(0.0, low), min(1.0, high)


def preference_p(votes_RN: Floats, resampling: Resampling) -> float:
    """Two-sided p of the hypothesis that both arms are preferred alike, as in the interval."""
    mean, error = _estimate(votes_RN, resampling)
    return 2 * float(stdtr(min(votes_RN.shape) - 1, -abs(mean - 0.5) / error))


def _estimate(votes_RN: Floats, resampling: Resampling) -> tuple[float, float]:
    """The mean vote and its standard error.

    The error is never below that of as many independent answers, by Wilson's interval: where all
    votes agree, resampling shows no spread.
    """
    there = votes_RN[np.isfinite(votes_RN)]
    low, high = wilson(float(there.sum()), there.size)
    error = standard_error(resampling.means(votes_RN))
    return float(there.mean()), max(error, (high - low) / (2 * _Z))


def standard_error(replicates_B: Floats) -> float:
    """The standard deviation of the finite replicates."""
    return float(np.std(replicates_B[np.isfinite(replicates_B)], ddof=1))


def student_interval(value: float, error: float, n: int) -> tuple[float, float]:
    """95 % interval: Student's quantile of n - 1 degrees of freedom times the standard error.

    n: the smaller of the numbers of raters and items.
    """
    half = float(stdtrit(n - 1, 0.975)) * error
    return value - half, value + half


# ------------------------------------------------------------------ agreement and strengths
def krippendorff_alpha(votes_RN: Floats) -> float | None:
    """Krippendorff's alpha for nominal data (2004, Content Analysis, Sec. 11.3).

    1: the raters agree on every item; 0: as much as by chance. None if no item has two votes, or if
    all votes are the same, where it is not defined.
    """
    ones_N = np.nansum(votes_RN, axis=0)
    count_N = np.isfinite(votes_RN).sum(axis=0)
    paired = count_N > 1
    ones_N, count_N = ones_N[paired], count_N[paired]
    n, ones = float(count_N.sum()), float(ones_N.sum())
    expected = 2 * ones * (n - ones) / (n - 1) if n else 0.0
    if not expected:
        return None
    observed = float((2 * ones_N * (count_N - ones_N) / (count_N - 1)).sum())
    return 1 - observed / expected


def bradley_terry(wins_KK: Floats, rounds: int = 10_000) -> Floats | None:
    """Log strengths [K] with mean 0: P(i is chosen over j) = 1 / (1 + exp(s_j - s_i)).

    wins_KK[i, j]: how often i was chosen over j. Maximum likelihood by Hunter's MM algorithm (2004,
    Ann. Stat. 32). None if there is no maximum: some arms never lose against the others.
    """
    if not _strongly_connected(wins_KK):
        return None
    games_KK, won_K = wins_KK + wins_KK.T, wins_KK.sum(axis=1)
    strength_K = np.ones(len(wins_KK))
    for _ in range(rounds):
        sums_KK = strength_K[:, None] + strength_K[None]
        new_K = won_K / (games_KK / sums_KK).sum(axis=1)
        new_K /= np.exp(np.log(new_K).mean())
        done = np.allclose(new_K, strength_K, rtol=1e-12, atol=0)
        strength_K = new_K
        if done:
            break
    found: Floats = np.log(strength_K)
    return found


def _strongly_connected(wins_KK: Floats) -> bool:
    """Whether a chain of wins leads from every arm to every other."""
    reach = (wins_KK > 0) | np.eye(len(wins_KK), dtype=bool)
    for _ in range(len(wins_KK)):
        reach = reach @ reach
    return bool(reach.all())
