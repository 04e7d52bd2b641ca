"""The solvers of DPM-Solver++'s family, against diffusers' multistep scheduler."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import SPACINGS, Grid
from sde_edit.diffusion.steps import half_log_snr
from tests.numerics.samplers.inputs import (
    CONFIG,
    NOISE,
    SCHEDULE,
    decode,
    in_float64,
    network,
    sampler,
    start,
)

ALGORITHM = {
    "ode": ("dpmsolver++", 1),
    "sde": ("sde-dpmsolver++", 1),
    "ode2": ("dpmsolver++", 2),
    "sde2": ("sde-dpmsolver++", 2),
}


def diffusers_trajectory(kind, spacing, steps, last_sigma):
    """The multistep solver of diffusers, fed with our noise and with sigmas in float64."""
    algorithm, order = ALGORITHM[kind]
    scheduler = in_float64(
        DPMSolverMultistepScheduler(
            **CONFIG,
            algorithm_type=algorithm,
            solver_order=order,
            final_sigmas_type=last_sigma,
        )
    )
    scheduler.set_timesteps(steps)
    grid = SCHEDULE.grid(steps, spacing, last_sigma)
    # diffusers stores sigmas and draws noise in float32, its "leading" skips the noisiest time, and
    # it has not all spacings; the update itself is what is compared here, on our grid.
    alpha = torch.tensor(grid.alpha, dtype=torch.float64)
    scheduler.sigmas = ((1 - alpha) / alpha).sqrt()
    scheduler.timesteps = torch.tensor(grid.t[:-1]).long()
    x = start()
    for i, t in enumerate(scheduler.timesteps):
        eps = network(x, t.expand(2).double())
        noise = NOISE.like(x, "decode", i)
        x = step_in_float64(scheduler, eps, t, x, noise)
    return x, grid


def step_in_float64(scheduler, eps, t, x, noise):
    """`DPMSolverMultistepScheduler.step` without its cast of sample and noise to float32."""
    if scheduler.step_index is None:
        scheduler._init_step_index(t)
    config, n = scheduler.config, len(scheduler.timesteps)
    lower_final = scheduler.step_index == n - 1 and (
        config.final_sigmas_type == "zero" or (config.lower_order_final and n < 15)
    )
    output = scheduler.convert_model_output(eps, sample=x)
    scheduler.model_outputs = [*scheduler.model_outputs[1:], output]
    if config.solver_order == 1 or scheduler.lower_order_nums < 1 or lower_final:
        x = scheduler.dpm_solver_first_order_update(output, sample=x, noise=noise)
    else:
        outputs = scheduler.model_outputs
        x = scheduler.multistep_dpm_solver_second_order_update(outputs, sample=x, noise=noise)
    scheduler.lower_order_nums = min(scheduler.lower_order_nums + 1, config.solver_order)
    scheduler._step_index += 1
    return x


@pytest.mark.parametrize("last_sigma", ["sigma_min", "zero"])
@pytest.mark.parametrize("steps", [10, 25])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("kind", sorted(ALGORITHM))
def test_agrees_with_diffusers_multistep(kind, spacing, steps, last_sigma):
    theirs, grid = diffusers_trajectory(kind, spacing, steps, last_sigma)
    torch.testing.assert_close(decode(kind, grid), theirs, rtol=1e-9, atol=1e-9)


def test_first_order_multistep_solvers_are_ddim_and_ddpm():
    """Two steps that may not look back are two first-order steps."""
    grid = SCHEDULE.grid(2)
    torch.testing.assert_close(decode("ode2", grid), decode("ode", grid))
    torch.testing.assert_close(decode("sde2", grid), decode("sde", grid))


MEAN, VARIANCE = 0.5, 0.04


class FirstOrderEnd(Grid):
    """A grid on whose last step no sampler looks back, whatever the number of steps."""

    def is_second_order(self, i):
        return 0 < i < self.steps - 1


@dataclass(frozen=True)
class Impulses(Noise):
    """Zeros, but for a one in row k at the k-th draw, from k = 1 on."""

    draws: list = field(default_factory=list)

    def like(self, x_BCHW, purpose, step=0):
        drawn = torch.zeros_like(x_BCHW)
        self.draws.append(step)
        drawn[len(self.draws) : len(self.draws) + 1] = 1.0
        return drawn


def spread(kind, grid):
    """The exact standard deviation of samples of N(MEAN, VARIANCE), as a multiple of the data's at
    the last alpha: the eps of a Gaussian is linear, so every draw adds its own variance."""

    def eps(x, t):
        a = SCHEDULE.alpha[int(t[0])]
        return (1 - a) ** 0.5 * (x - a**0.5 * MEAN) / (a * VARIANCE + 1 - a)

    rows = grid.steps + 2
    x = torch.zeros(rows, 1, 1, 1, dtype=torch.float64)
    x[-1] = 1.0  # N(0, 1) at the noisiest time
    out = sampler(kind).decode(eps, x, grid, Impulses(0, tuple(map(str, range(rows))))).flatten()
    a = grid.alpha[-1]
    return float((out[1:] - out[0]).norm()) / (a * VARIANCE + 1 - a) ** 0.5


def test_the_long_last_step_is_what_makes_sde2_spread_too_far():
    """docs/open-questions.md: of 25 even steps, the last one is 4.7 times as long in log-SNR as the
    one before, and SDE2 extrapolates over it, noise included."""
    grid = SCHEDULE.grid(25)
    h_prev, h = (half_log_snr(b) - half_log_snr(a) for a, b in pairwise(grid.alpha[-3:]))
    assert h / h_prev == pytest.approx(4.75, abs=0.01)
    assert spread("sde2", grid) == pytest.approx(1.45, abs=0.03)
    first_order = spread("sde", grid)
    assert first_order == pytest.approx(0.69, abs=0.03)
    for end in (FirstOrderEnd(grid.t, grid.alpha), SCHEDULE.grid(25, last_sigma="zero")):
        assert spread("sde2", end) == pytest.approx(first_order, abs=0.06)
