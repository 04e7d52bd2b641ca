"""The toy of App. E: a mixture of two Gaussians on the line, schedules, the priors.

code          paper (App. E)
alpha         alpha_t (alpha_bar)
mu, sigma     mu, sigma of q_0: both modes have standard deviation sigma
mu_t, var_t   mu_t = sqrt(alpha_t) mu, sigma_t^2 = alpha_t sigma^2 + 1 - alpha_t
score         s(x_t, t) = grad log q_t(x_t)
eps           eps(x_t, t) = -sqrt(1 - alpha_t) s(x_t, t)
Time runs from 0 (data) to 1 (noise), the paper's t / T. Tensors are float64; x has any shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.optimize import brentq
from torch import Tensor

from sde_edit.diffusion.denoiser import Denoiser
from sde_edit.diffusion.schedule import Grid

_OFFSET = 0.008  # Nichol & Dhariwal 2021, Eq. 17
_TRAIN_TIMES, _LARGEST_BETA = 1000, 0.999  # of the same paper; they keep alpha_T above 0
_BETA_0, _BETA_1 = 0.1, 20.0  # Song et al. 2021 (SDE), App. C: DDPM's linear betas in the limit
_SIGMA_0, _SIGMA_1 = 0.01, 50.0  # the same: the geometric noise levels of SMLD

Schedule = Callable[[float], float]  # t in [0, 1] -> alpha_t, falling


def cosine(t: float) -> float:
    """alpha_t of Nichol & Dhariwal 2021, Eq. 17; at t = 1 their clipped beta applies: 2.4e-9."""
    if t == 1:
        return cosine(1 - 1 / _TRAIN_TIMES) * (1 - _LARGEST_BETA)
    return _squared_cosine(t) / _squared_cosine(0)


def _squared_cosine(t: float) -> float:
    return math.cos((t + _OFFSET) / (1 + _OFFSET) * math.pi / 2) ** 2


def linear(t: float) -> float:
    """alpha_t of the VP SDE, whose beta grows linearly in time (Song et al. 2021, App. C)."""
    return math.exp(-(_BETA_0 * t + (_BETA_1 - _BETA_0) * t**2 / 2))


def exponential(t: float) -> float:
    """alpha_t of noise-to-signal ratios that grow exponentially: 1 / (1 + sigma^2) with sigma =
    sigma_0 (sigma_1 / sigma_0)^t, as in the VE SDE (the same). The log-SNR is linear in time."""
    sigma: float = _SIGMA_0 * (_SIGMA_1 / _SIGMA_0) ** t
    return 1 / (1 + sigma * sigma)


SCHEDULES: dict[str, Schedule] = {"linear": linear, "cosine": cosine, "exponential": exponential}


def time_at(schedule: Schedule, alpha: float) -> float:
    """The time at which a schedule has this alpha. Raises ValueError if it never has."""
    found: float = brentq(lambda t: schedule(t) - alpha, 0.0, 1.0, xtol=1e-14)
    return found


def even_grid(schedule: Schedule, start: float, end: float, steps: int) -> Grid:
    """`steps` equal steps in time from `start` down to `end`."""
    t = (*(start + (end - start) * i / steps for i in range(steps)), end)
    return Grid(t, tuple(schedule(time) for time in t))


def cosine_grid(start: float, end: float, steps: int) -> Grid:
    """`even_grid` of the toy's own schedule."""
    return even_grid(cosine, start, end, steps)


@dataclass(frozen=True)
class Mixture:
    """q_0 = 1/2 N(-mu, sigma^2) + 1/2 N(mu, sigma^2), and closed forms derived from it."""

    mu: float = 0.5
    sigma: float = 0.2

    def moments(self, alpha: float) -> tuple[float, float]:
        """mu_t and sigma_t^2."""
        return alpha**0.5 * self.mu, alpha * self.sigma**2 + 1 - alpha

    def log_q(self, x: Tensor, alpha: float) -> Tensor:
        """log q_t(x)."""
        mu_t, var_t = self.moments(alpha)
        modes = torch.stack([log_normal(x, -mu_t, var_t), log_normal(x, mu_t, var_t)])
        log_q: Tensor = torch.logsumexp(modes, dim=0) - math.log(2)
        return log_q

    def score(self, x: Tensor, alpha: float) -> Tensor:
        """s(x, t), the last line of the derivation in App. E."""
        mu_t, var_t = self.moments(alpha)
        score: Tensor = (mu_t * torch.tanh(mu_t * x / var_t) - x) / var_t
        return score

    def eps(self, grid: Grid) -> Denoiser:
        """The exact eps(x, t) at the times of `grid`, in the form that samplers take."""
        alpha_at = dict(zip(grid.t, grid.alpha, strict=True))

        def eps(x_BCHW: Tensor, t_B: Tensor) -> Tensor:
            alpha = alpha_at[float(t_B[0])]
            return self.score(x_BCHW, alpha) * -math.sqrt(1 - alpha)

        return eps


def log_normal(x: Tensor, mean: float, var: float) -> Tensor:
    """log N(x | mean, var)."""
    return -((x - mean) ** 2) / (2 * var) - 0.5 * math.log(2 * math.pi * var)


# ------------------------------------------------------------------ the priors of Fig. 5
@dataclass(frozen=True)
class Normal:
    """N(mean, sd^2)."""

    mean: float
    sd: float

    def log_p(self, x: Tensor) -> Tensor:
        return log_normal(x, self.mean, self.sd**2)

    def support(self) -> tuple[float, float]:
        """Where the density is above 1e-16 of its peak."""
        return self.mean - 8.6 * self.sd, self.mean + 8.6 * self.sd

    def sample(self, w: Tensor) -> Tensor:
        """Draws, one for each standard normal number in w."""
        return self.mean + self.sd * w

    def __str__(self) -> str:
        square = "" if self.sd == 1 else "²"
        return f"N({self.mean:g}, {self.sd:g}{square})"


@dataclass(frozen=True)
class Uniform:
    """U[low, high]. At t = T its jumps violate the regularity that Theorem 3.1 assumes."""

    low: float
    high: float

    def log_p(self, x: Tensor) -> Tensor:
        return torch.full_like(x, -math.log(self.high - self.low))

    def support(self) -> tuple[float, float]:
        return self.low, self.high

    def sample(self, w: Tensor) -> Tensor:
        uniform: Tensor = torch.special.ndtr(w)
        return self.low + (self.high - self.low) * uniform

    def __str__(self) -> str:
        return f"U[{self.low:g}, {self.high:g}]".replace("-", "\N{MINUS SIGN}")


Prior = Normal | Uniform
RIGHT, SHIFTED, UNIFORM = Normal(0, 1), Normal(2, 2), Uniform(-2, 2)
PRIORS: tuple[Prior, ...] = (RIGHT, SHIFTED, UNIFORM)
