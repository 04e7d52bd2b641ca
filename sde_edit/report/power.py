"""How large differences are, and how many examples it takes to see them.

Letters: N examples. sigma is the standard deviation of the paired differences of single examples.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from sde_edit.report.multiplicity import LEAST, LEVEL

POWER = 0.8  # the probability of seeing a difference that is there


@cache
def _quantiles() -> tuple[float, float]:
    """z_{1 - a/2} and z_power, of the standard normal distribution."""
    return float(special.ndtri(1 - LEVEL / 2)), float(special.ndtri(POWER))


def paired_d(differences_N: NDArray[np.float64]) -> float | None:
    """The mean of paired differences over their standard deviation (Cohen's d_z); None without one.

    It has the sign of the difference.
    """
    if len(differences_N) < 2:
        return None
    sigma = float(np.std(differences_N, ddof=1))
    return float(differences_N.mean()) / sigma if sigma else None


def superiority(gains_N: NDArray[np.float64]) -> float:
    """The share of examples with a gain above 0; one with none counts half. In [0, 1].

    The probability of superiority of paired data (Grissom and Kim 2012, Ch. 5).
    """
    return float(((gains_N > 0) + 0.5 * (gains_N == 0)).mean())


def sigma_of(replicates_B: NDArray[np.float64], n: int) -> float:
    """sigma from bootstrap replicates of a difference over n >= 2 examples.

    They scatter by sigma sqrt(n - 1) / n if the difference is a mean. A distance of distributions
    is not, and sigma is then what a mean that scatters as much would have.
    """
    return float(np.std(replicates_B, ddof=1)) * n / math.sqrt(n - 1)


def sample_size(difference: float, sigma: float) -> int:
    """The n at which a two-sided paired t-test sees a difference with probability `POWER`.

    n = ((z_{1 - a/2} + z_power) sigma / difference)^2 + z_{1 - a/2}^2 / 2 (Guenther 1981), rounded
    up, at least `LEAST`. difference: not 0.
    """
    z_level, z_power = _quantiles()
    n = ((z_level + z_power) * sigma / difference) ** 2 + z_level**2 / 2
    return max(LEAST, math.ceil(n))


def detectable(sigma: float, n: int) -> float:
    """The smallest difference that n >= `LEAST` examples show with probability `POWER`.

    The inverse of `sample_size`; in units of sigma.
    """
    z_level, z_power = _quantiles()
    return (z_level + z_power) * sigma / math.sqrt(n - z_level**2 / 2)
