"""DDIM and its SDE, against diffusers."""

from itertools import pairwise

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler

from tests.numerics.samplers.inputs import (
    CONFIG,
    GRID,
    NOISE,
    SCHEDULE,
    decode,
    edited,
    in_float64,
    network,
    sampler,
    start,
)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("kind", ["ode", "sde"])
def test_agrees_with_diffusers_ddim(kind, spacing):
    """DDIMScheduler computes the previous time as t - 1000 // steps, which fits these grids."""
    scheduler = in_float64(
        DDIMScheduler(
            **CONFIG,
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            timestep_spacing=spacing,
        )
    )
    scheduler.set_timesteps(20)
    grid = SCHEDULE.grid(20, spacing)
    assert scheduler.timesteps.tolist() == list(grid.t[:-1])
    x = start()
    for i, t in enumerate(scheduler.timesteps):
        noise = NOISE.like(x, "decode", i)
        eps = network(x, t.expand(2).double())
        eta = 1.0 if kind == "sde" else 0.0
        x = scheduler.step(eps, int(t), x, eta=eta, variance_noise=noise).prev_sample
    torch.testing.assert_close(decode(kind, grid), x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("last_sigma", ["sigma_min", "zero"])
def test_inversion_that_asks_at_the_end_is_that_of_published_code(spacing, last_sigma):
    """The rule of DDIMInverseScheduler, null-text inversion and DragDiffusion, written plainly:
    the state is that of the time before, the network hears the time to be reached."""
    grid, inverted = SCHEDULE.grid(20, spacing, last_sigma), [start()]
    up = list(zip(grid.t, grid.alpha, strict=True))[::-1]
    for (_, alpha), (t_next, alpha_next) in pairwise(up):
        latent = inverted[-1]
        e = network(latent, torch.full((2,), t_next, dtype=torch.float64))
        x_0 = (latent - (1 - alpha) ** 0.5 * e) / alpha**0.5
        inverted.append(alpha_next**0.5 * x_0 + (1 - alpha_next) ** 0.5 * e)
    found = sampler("ode", inversion_time="end").encode(network, start(), grid, NOISE).states
    torch.testing.assert_close(found, torch.stack(inverted[::-1]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("last_sigma", ["sigma_min", "zero"])
def test_inversion_that_asks_at_the_end_agrees_with_diffusers(last_sigma):
    zero = last_sigma == "zero"
    settings = {**CONFIG, "clip_sample": False, "set_alpha_to_one": zero, "steps_offset": 1}
    scheduler = in_float64(DDIMInverseScheduler(**settings, timestep_spacing="leading"))
    scheduler.initial_alpha_cumprod = 1.0 if zero else scheduler.alphas_cumprod[0]
    scheduler.set_timesteps(20)
    grid = SCHEDULE.grid(20, "leading", last_sigma)
    assert scheduler.timesteps.tolist() == list(grid.reversed().t[1:])
    x = start()
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t.expand(2).double()), t, x).prev_sample
    found = sampler("ode", inversion_time="end").encode(network, start(), grid, NOISE)
    torch.testing.assert_close(found.latent, x, rtol=1e-6, atol=1e-6)


def test_inversion_asks_at_the_times_that_its_setting_says():
    """One evaluation per step either way; only with `end` the times are those of decode."""
    asked = {}
    for setting in ("start", "end"):
        times = asked[setting] = []

        def eps(x, t, times=times):
            times.append(float(t[0]))
            return network(x, t)

        sampler("ode", inversion_time=setting).encode(eps, start(), GRID, NOISE)
    assert asked == {"start": [*GRID.t[:0:-1]], "end": [*GRID.t[-2::-1]]}


@pytest.mark.parametrize("setting", ["start", "end"])
def test_a_round_trip_comes_closer_with_more_steps(setting):
    """Of first order in the step size, with either time."""
    errors = []
    for steps in (100, 200):
        grid = SCHEDULE.grid(steps).truncated(0.5)
        out = edited("ode", network, network, lambda x: x, grid, inversion_time=setting)
        errors.append(float((out - start()).abs().mean()))
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.2)
