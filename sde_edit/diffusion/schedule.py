"""alpha_bar and the grids of times that samplers visit.

alpha = alpha_bar (the paper's alpha_t), so x_t = sqrt(alpha_t) x_0 + sqrt(1 - alpha_t) eps, Eq. 1.
Times are the integer train times 0 .. T-1. Time 0 is the least noisy one that the network knows:
its alpha is 0.99915 for Stable Diffusion, not 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sde_edit.errors import UserError

Spacing = Literal["linspace", "leading", "trailing", "logsnr", "quadratic", "karras"]
LastSigma = Literal["sigma_min", "zero", "one_step_in"]

SPACINGS: tuple[str, ...] = get_args(Spacing)
LAST_SIGMAS: tuple[str, ...] = get_args(LastSigma)


@dataclass(frozen=True)
class Grid:
    """The times that a sampler visits and alpha at each. A step joins two neighbouring times.

    Times decrease from noise to data, except in a reversed grid.
    left_out: number of steps of the whole way to the data that the grid does not take.
    """

    t: tuple[float, ...]
    alpha: tuple[float, ...]
    left_out: int = 0

    @property
    def steps(self) -> int:
        """The number of steps, one less than the number of times."""
        return len(self.t) - 1

    def intervals(self) -> Iterator[tuple[float, float, float]]:
        """(s, alpha_s, alpha_t) for every step s -> t."""
        return zip(self.t, self.alpha, self.alpha[1:], strict=False)

    def triples(self) -> Iterator[tuple[float, float, float, float]]:
        """(t, alpha before t, at t, after t) for every time except the first and the last."""
        return zip(self.t[1:], self.alpha, self.alpha[1:], self.alpha[2:], strict=False)

    def truncated(self, t_0: float) -> Grid:
        """The last round(t_0 * steps) steps, t_0 in (0, 1]; on an even grid they start at t_0 T.

        On one that is uneven in time they start at another, less noisy time. If the grid leaves
        steps out at the end, it counts them too, and takes as many steps from where it ends.
        """
        first = max(0, self.steps - steps_below(t_0, self.steps + self.left_out))
        return replace(self, t=self.t[first:], alpha=self.alpha[first:])

    def one_step_in(self) -> Grid:
        """The grid without its last step; a grid that leaves it out already stays."""
        return (
            self
            if self.left_out
            else replace(self, t=self.t[:-1], alpha=self.alpha[:-1], left_out=1)
        )

    def index_of(self, t: float) -> int:
        """The index of the step that starts at t. Raises UserError if there is none."""
        if t not in self.t[:-1]:
            raise UserError(
                f"the sampler asks for time {t:g}, at which the source has no state: the task "
                "needs one that keeps to the grid, such as ode or sde"
            )
        return self.t.index(t)

    def alpha_at(self, t: float) -> float:
        """alpha at a time of the grid. Raises UserError for another time."""
        if t not in self.t:
            raise UserError(
                f"the sampler asks for time {t:g}, which is not of the grid: the task needs a "
                "sampler that keeps to it, such as ode or sde"
            )
        return self.alpha[self.t.index(t)]

    def reversed(self) -> Grid:
        """The same times in reverse order, from data to noise."""
        return replace(self, t=self.t[::-1], alpha=self.alpha[::-1])

    def is_second_order(self, i: int) -> bool:
        """Whether step i of a two-step method uses the step before it.

        The first step does not. From noise to data, the last step does not either if there are
        fewer than 15 steps or the grid ends at sigma = 0 (diffusers' `lower_order_final`).
        """
        towards_data = self.t[0] > self.t[-1]
        last_is_first_order = towards_data and (self.steps < 15 or self.alpha[-1] == 1)
        return i > 0 and not (i + 1 == self.steps and last_is_first_order)


@dataclass(frozen=True)
class Schedule:
    """alpha_bar at every train time, in float64."""

    alpha: tuple[float, ...]

    @classmethod
    def from_betas(cls, kind: str, start: float, end: float, n: int) -> Schedule:
        """A beta schedule of diffusers' scheduler configs, with n train times.

        kind: linear or scaled_linear. Raises UserError for another kind.
        """
        if kind == "scaled_linear":
            betas = np.linspace(start**0.5, end**0.5, n) ** 2
        elif kind == "linear":
            betas = np.linspace(start, end, n)
        else:
            raise UserError(
                f"beta_schedule {kind!r} in the model's scheduler config is not supported; "
                "supported: scaled_linear, linear"
            )
        return cls(tuple(np.cumprod(1 - betas).tolist()))

    def grid(
        self, steps: int, spacing: str = "linspace", last_sigma: str = "sigma_min", offset: int = 1
    ) -> Grid:
        """The grid of `steps` steps from the noisiest time to time 0.

        spacing (what diffusers calls `timestep_spacing`):
            linspace   evenly over [0, T-1], rounded: DPM-Solver's, and the paper's for inpainting
            leading    k * (T // steps) + offset: DDIM's in Stable Diffusion's own config
            trailing   T, T - T/steps, ..., each minus one
            logsnr     evenly in log alpha / (1 - alpha), rounded: DPM-Solver's `logSNR`, as
                       diffusers' `use_lu_lambdas`
            quadratic  evenly in the root of t, rounded: DDIM's (App. D.2), DPM-Solver's
                       `time_quadratic`
            karras     evenly in (sigma / alpha)^(1/7), rounded: EDM's (Karras et al. 2022, Eq. 5),
                       as diffusers' `use_karras_sigmas`
        Where times of the last three round to the same train time, the noisier move up to the next.
        last_sigma (where the last step ends):
            sigma_min    at alpha_0, as in diffusers 0.25.1, which produced the paper's numbers
            zero         at alpha = 1, the default of diffusers >= 0.26
            one_step_in  at the time before: the last step is left out, so that an image to be
                         encoded is placed at t = T / steps with linspace, as in the published code
                         of Cycle-SDE, or at t = offset with leading, as in that of DiffEdit-SDE
        Raises UserError if the grid would leave [0, T), visit a time twice or have no step.
        """
        n, alpha_bar = len(self.alpha), np.array(self.alpha)
        if not 1 <= steps < n:
            raise UserError(
                f"steps={steps}: must be at least 1 and, with the model's {n} train times, at most "
                f"{n - 1}"
            )
        if spacing == "linspace":
            t = np.linspace(0, n - 1, steps + 1).round()[:0:-1]
        elif spacing == "leading":
            t = (np.arange(steps, dtype=float) * (n // steps) + offset)[::-1]
        elif spacing == "trailing":
            t = np.round(np.arange(n, 0, -n / steps)) - 1
        elif spacing == "logsnr":
            t = _distinct(self._times_even_in(-np.log(alpha_bar / (1 - alpha_bar)), steps))
        elif spacing == "quadratic":
            t = _distinct(np.linspace(0, math.sqrt(n - 1), steps + 1) ** 2)
        elif spacing == "karras":
            t = _distinct(self._times_even_in((1 / alpha_bar - 1) ** (1 / 14), steps))
        else:
            raise UserError(f"spacing={spacing!r}: allowed are {', '.join(SPACINGS)}")
        if last_sigma not in LAST_SIGMAS:
            raise UserError(f"last_sigma={last_sigma!r}: allowed are {', '.join(LAST_SIGMAS)}")
        times = [*t.astype(int).tolist(), 0]
        if times[0] >= n or any(np.diff(times) >= 0):
            raise UserError(
                f"steps={steps} with grid.spacing={spacing} does not fit the model's {n} train "
                f"times: use fewer steps or grid.spacing=linspace (at most {n - 1} steps)"
            )
        alpha = [self.alpha[i] for i in times]
        if last_sigma == "zero":
            alpha[-1] = 1.0
        grid = Grid(tuple(float(i) for i in times), tuple(alpha))
        if last_sigma != "one_step_in":
            return grid
        if steps == 1:
            raise UserError("grid.last_sigma=one_step_in leaves out the only step: use more steps")
        return grid.one_step_in()

    def _times_even_in(self, measure: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
        """steps + 1 times from 0 to T-1, interpolated between the train times, at which `measure`,
        which rises with time, is even."""
        wanted = np.linspace(measure[0], measure[-1], steps + 1)
        times: NDArray[np.float64] = np.interp(wanted, measure, np.arange(len(measure)))
        return times


def _distinct(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Increasing times [N + 1], the first 0, as whole numbers without repeats: the last N, falling.

    A repeat, and what then repeats it, moves up to the next whole number.
    """
    i = np.arange(len(t), dtype=np.float64)
    ahead: NDArray[np.float64] = np.maximum.accumulate(t.round() - i)
    return (ahead + i)[:0:-1]


def steps_below(t_0: float, steps: int) -> int:
    """The number of steps from t_0 T to the end of a grid of `steps` steps, at least one.

    t_0 is in (0, 1].
    """
    return max(1, round(t_0 * steps))
