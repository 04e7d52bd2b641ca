"""PLMS, against diffusers."""

import pytest
import torch
from diffusers import PNDMScheduler

from tests.numerics.samplers.inputs import NOISE, SCHEDULE, network, sampler, start


@pytest.mark.parametrize("steps", [3, 10, 25])
def test_plms_agrees_with_diffusers(steps):
    grid = SCHEDULE.grid(steps, "leading")
    scheduler = PNDMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
        skip_prk_steps=True, steps_offset=1, timestep_spacing="leading",
    )  # fmt: skip
    alpha = torch.tensor(SCHEDULE.alpha, dtype=torch.float64)
    scheduler.alphas_cumprod, scheduler.final_alpha_cumprod = alpha, alpha[0]
    scheduler.set_timesteps(steps)
    x = start()
    for t in scheduler.timesteps:
        eps = network(x, t.expand(2).double())
        x = scheduler.step(eps, t, x).prev_sample
    out = sampler("plms").decode(network, start(), grid, NOISE)
    torch.testing.assert_close(out, x, rtol=1e-9, atol=1e-9)
