"""SDE and Cycle-SDE, against diffusers and to the last bit."""

import pytest
import torch
from diffusers import DDPMScheduler

from sde_edit.diffusion.denoiser import no_edit
from sde_edit.diffusion.schedule import SPACINGS
from sde_edit.samplers.bdia import on_lattice
from tests.numerics.samplers.inputs import (
    CONFIG,
    GRID,
    NOISE,
    SCHEDULE,
    decode,
    edited,
    in_float64,
    network,
    prompted,
    rounded,
    sampler,
    start,
)


@pytest.mark.parametrize("guidance", [0.0, 1.0, 7.5])
@pytest.mark.parametrize("shift", [0.0, 0.7])
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
def test_both_forms_of_cycle_sde_agree(guidance, shift, spacing):
    """Arbitrary networks, prompts, guidance and edits."""
    grid = SCHEDULE.grid(20, spacing)
    source, target = prompted(0.2, guidance), prompted(shift, guidance)

    def edit(x):
        return torch.where(x > 0.5, x.roll(2, -1), x)

    def project(x, i):
        return x if i % 3 else 0.9 * x

    difference, textbook = (
        edited(kind, source, target, edit, grid, project=project)
        for kind in ("sde", "sde_textbook")
    )
    torch.testing.assert_close(difference, textbook, rtol=1e-9, atol=1e-9)
    assert (difference - start()).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("guidance", [1.0, 7.5, 15.0])
@pytest.mark.parametrize("kind", ["sde", "sde2", "bdia"])
def test_what_was_not_edited_comes_back_in_every_bit(kind, guidance, dtype):
    eps = rounded(prompted(0.2, guidance), dtype)
    x_0 = on_lattice(start().float().double()).float()
    method = sampler(kind)
    inversion = method.encode(eps, x_0, GRID, NOISE)
    out = method.decode(eps, inversion.latent, GRID, NOISE, no_edit, inversion)
    assert torch.equal(out.float(), x_0)


def test_cycle_sde_ends_without_noise_too():
    """At alpha = 1, where Alg. 5 would divide by sigma = 0."""
    grid = SCHEDULE.grid(20, "linspace", "zero")
    out = edited("sde", network, network, lambda x: x, grid)
    assert torch.equal(out, start())


@pytest.mark.parametrize("spacing", SPACINGS)
def test_sde_agrees_with_diffusers_ddpm(spacing):
    """DDPMScheduler takes any list of times; its step adds noise but at the last time."""
    grid = SCHEDULE.grid(20, spacing)
    scheduler = in_float64(DDPMScheduler(**CONFIG, clip_sample=False))
    scheduler.set_timesteps(timesteps=[int(t) for t in grid.t])
    x = start()
    for i, t in enumerate(scheduler.timesteps[:-1]):
        eps = network(x, t.expand(2).double())
        mean = scheduler.step(eps, int(t), x, generator=torch.Generator()).pred_original_sample
        previous = scheduler.previous_timestep(t)
        assert int(previous) == grid.t[i + 1]
        a_s, a_t = grid.alpha[i], grid.alpha[i + 1]
        beta = 1 - a_s / a_t
        x = (
            a_t**0.5 * beta / (1 - a_s) * mean
            + (a_s / a_t) ** 0.5 * (1 - a_t) / (1 - a_s) * x
            + scheduler._get_variance(t) ** 0.5 * NOISE.like(x, "decode", i)
        )
    torch.testing.assert_close(decode("sde", grid), x, rtol=1e-6, atol=1e-6)
