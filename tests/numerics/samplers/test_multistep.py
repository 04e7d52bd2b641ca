"""The solvers of DPM-Solver++'s family, against diffusers' multistep scheduler."""

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from sde_edit.diffusion.schedule import SPACINGS
from tests.numerics.samplers.inputs import (
    CONFIG,
    NOISE,
    SCHEDULE,
    decode,
    in_float64,
    network,
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
