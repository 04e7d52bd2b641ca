"""DDIM and its SDE, against diffusers."""

import pytest
import torch
from diffusers import DDIMScheduler

from tests.numerics.samplers.inputs import (
    CONFIG,
    NOISE,
    SCHEDULE,
    decode,
    in_float64,
    network,
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
