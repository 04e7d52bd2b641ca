"""Which of many comparisons hold together: p-values, step-down max-T, Benjamini-Hochberg.

Letters: M comparisons, B resamplings. docs/statistics.md has the formulas and the error rates.

code      Romano and Wolf 2005, 2016
z_M       the studentised statistics w_n,k, on the scale of a standard normal distribution
null_BM   their bootstrap distribution under the null hypothesis, w*_k
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

LEVEL = 0.05  # of a family, of a comparison alone, and of the false discovery rate
LEAST = 1 + math.ceil(-math.log2(LEVEL))  # examples; p of fewer never reaches LEVEL

Floats = NDArray[np.float64]


def two_sided_p(value: float, replicates_B: Floats, n: int) -> float:
    """p of the hypothesis that a difference over n >= 2 examples is 0: 2 T(-|value| / se).

    T is Student's distribution with n - 1 degrees of freedom, and se the standard deviation of the
    replicates times sqrt(n / (n - 1)), as the bootstrap divides by n. Never below 2^(1 - n): n
    pairs have 2^n patterns of signs, so no paired test of them can be surer.
    """
    se = float(np.std(replicates_B, ddof=1)) * np.sqrt(n / (n - 1))
    ratio = abs(value) / se if se else np.inf
    return max(2 * float(special.stdtr(n - 1, -ratio)), 2.0 ** (1 - n))


def normal_score(p_M: Floats) -> Floats:
    """|z| [M] of a standard normal distribution with these two-sided p-values."""
    z_M: Floats = -special.ndtri(p_M / 2)
    return z_M


def studentised(replicates_B: Floats) -> Floats:
    """Replicates [B], centred and over their standard deviation; zeros if they are all equal."""
    centred_B = replicates_B - replicates_B.mean()
    spread = float(np.std(replicates_B, ddof=1))
    return centred_B / spread if spread else np.zeros_like(centred_B)


def step_down_max_t(z_M: Floats, null_BM: Floats) -> Floats:
    """Adjusted p-values [M] of |z_M|: rejecting those <= a errs with probability a at most.

    That is the probability of one error or more, whichever hypotheses hold (Romano and Wolf 2005,
    Alg. 4.1; the p-values with 1 + count over 1 + B are Alg. 4.2 of Romano and Wolf 2016). The
    largest statistic is held against the maxima of all M, the next against those of the others,
    and so on.
    """
    down_M = np.argsort(-np.abs(z_M), kind="stable")
    null_BM = np.abs(null_BM)[:, down_M]
    # maxima[b, k]: over the k-th largest statistic and all smaller ones
    maxima_BM = np.maximum.accumulate(null_BM[:, ::-1], axis=1)[:, ::-1]
    reached_M = (maxima_BM >= np.abs(z_M)[down_M]).sum(axis=0)
    adjusted_M = np.empty(len(z_M))
    adjusted_M[down_M] = np.maximum.accumulate((1 + reached_M) / (1 + len(null_BM)))
    return adjusted_M


def benjamini_hochberg(p_M: Floats) -> Floats:
    """q-values [M]: of those <= q a share of q at most is expected to be wrong.

    Benjamini and Hochberg 1995; it holds for comparisons that are independent or positively
    dependent (Benjamini and Yekutieli 2001).
    """
    up_M = np.argsort(p_M, kind="stable")
    scaled_M = p_M[up_M] * len(p_M) / np.arange(1, len(p_M) + 1)
    q_M = np.empty(len(p_M))
    q_M[up_M] = np.minimum.accumulate(scaled_M[::-1])[::-1]
    return q_M
