"""Single steps between two noise levels. alpha is alpha_bar, the paper's alpha_t."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def half_log_snr(alpha: float) -> float:
    """lambda_t = log(sqrt(alpha_t / (1 - alpha_t))), DPM-Solver's time; infinity at alpha = 1."""
    return 0.5 * math.log(alpha / (1 - alpha)) if alpha < 1 else math.inf


def predict_x0(x: Tensor, eps: Tensor, alpha: float) -> Tensor:
    """The bracket in Eq. 6: the x_0 that Eq. 1 turns into x with the noise `eps`."""
    x0: Tensor = (x - (1 - alpha) ** 0.5 * eps) / alpha**0.5
    return x0


def ddim(x: Tensor, eps: Tensor, a_s: float, a_t: float) -> Tensor:
    """Eq. 6 with eta = 0, from alpha_s to alpha_t in either direction."""
    x_t: Tensor = a_t**0.5 * predict_x0(x, eps, a_s) + (1 - a_t) ** 0.5 * eps
    return x_t


def ddpm(x: Tensor, eps: Tensor, a_s: float, a_t: float) -> tuple[Tensor, float]:
    """Eq. 6 with eta = 1: the mean of x_t and the standard deviation sigma_s of its noise."""
    sigma2 = (1 - a_t) / (1 - a_s) * (1 - a_s / a_t)
    mean = a_t**0.5 * predict_x0(x, eps, a_s) + (1 - a_t - sigma2) ** 0.5 * eps
    return mean, sigma2**0.5
