"""SDE and Cycle-SDE, against diffusers and to the last bit."""

import pytest
import torch
from diffusers import DDPMScheduler

from sde_edit.diffusion.denoiser import no_edit
from sde_edit.diffusion.lattice import on_lattice
from sde_edit.diffusion.schedule import SPACINGS, Schedule
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
@pytest.mark.parametrize("kind", ["sde", "sde2", "ef", "bdia", "obelm"])
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


def published_cycle_sde(x_0, timesteps, alphas, source, target, mask=None):
    """SDE-Drag's published loops, written plainly: x_0 is the state at the last of the timesteps.
    With a mask they are those of DiffEdit-SDE, which keeps the source's states outside."""
    stride, alphas = 50, torch.tensor(alphas, dtype=torch.float64)
    latents, forward_sample, forward_x_prev = x_0, [], [x_0]
    for t in timesteps[:0:-1]:
        a_t, a_prev = alphas[t], alphas[t + stride]
        w = NOISE.like(x_0, "forward", t)
        forward_sample.append(latents)
        latents = (a_prev / a_t) ** 0.5 * latents + (1 - a_prev / a_t) ** 0.5 * w
        forward_x_prev.append(latents)
    for t in timesteps[:-1]:
        sample, x_prev = forward_sample.pop(), forward_x_prev.pop()
        a, a_prev = alphas[t], alphas[t - stride]
        asked = torch.full((len(x_0),), float(t), dtype=torch.float64)
        eps, forward_eps = target(latents, asked), source(x_prev, asked)
        sigma = ((1 - a_prev) / (1 - a)) ** 0.5 * (1 - a / a_prev) ** 0.5
        direction = (1 - a_prev - sigma**2) ** 0.5
        of_source = a_prev**0.5 * (x_prev - (1 - a) ** 0.5 * forward_eps) / a**0.5
        w = (sample - of_source - direction * forward_eps) / sigma
        predicted = (latents - (1 - a) ** 0.5 * eps) / a**0.5
        latents = a_prev**0.5 * predicted + direction * eps + sigma * w
        if mask is not None:
            latents = latents * mask + forward_x_prev[-1] * (1 - mask)
    return latents


def test_a_grid_that_ends_one_step_in_is_that_of_published_cycle_sde():
    """x_0 at T / n = 50, and a step less than asked for."""
    alphas = (*SCHEDULE.alpha, 0.98 * SCHEDULE.alpha[-1])  # one more makes linspace even
    grid = Schedule(alphas).grid(20, "linspace", "one_step_in")
    source, target = prompted(0.2), prompted(0.7)
    out = cycled(source, target, grid)
    wanted = published_cycle_sde(start(), list(range(1000, 0, -50)), alphas, source, target)
    torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-10)


def test_with_leading_times_it_is_that_of_published_diffedit_sde():
    """x_0 at t = 1; int(t_0 n) = 14 of 20 steps up to t = 701, not 651."""
    grid = SCHEDULE.grid(20, "leading", "one_step_in").truncated(0.7)
    assert (grid.t[0], grid.t[-1], grid.steps) == (701, 1, 14)
    source, target = prompted(0.2), prompted(0.7)
    mask = torch.zeros(1, 1, 6, 6, dtype=torch.float64)
    mask[..., 2:5, 1:4] = 1
    out = cycled(source, target, grid, mask)
    wanted = published_cycle_sde(
        start(), list(range(701, 0, -50)), SCHEDULE.alpha, source, target, mask
    )
    torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-10)


def cycled(source, target, grid, mask=None):
    """Up under the source, down under the target, the source's states outside the mask."""
    method = sampler("sde")
    inversion = method.encode(source, start(), grid, NOISE)

    def keep(x, i):
        return x if mask is None else torch.where(mask > 0, x, inversion.states[i])

    return method.decode(target, inversion.latent, grid, NOISE, keep, inversion)
