"""DDIM and its SDE, against diffusers; DDIM inversion in its three forms."""

import math
from itertools import pairwise

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler

from sde_edit.errors import UserError
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


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("guess", ["start", "end"])
def test_fixed_point_inversion_is_the_published_rule(k, guess):
    """AIDI's iteration z_t <- f(z_t), with f(z) = sqrt(a_t / a_s) z_s + psi eps(z, t), written
    plainly: from `end` it is AIDI with k + 1 iterations that start at z_s, and ReNoise without
    averages and noise correction; from `start`, k iterations after a plain step."""
    states = [start()]
    up = list(zip(GRID.t, GRID.alpha, strict=True))[::-1]
    for (t_s, a_s), (t, a_t) in pairwise(up):
        z_s = states[-1]
        psi = a_t**0.5 * ((1 / a_t - 1) ** 0.5 - (1 / a_s - 1) ** 0.5)

        def f(z, at, z_s=z_s, psi=psi, ratio=(a_t / a_s) ** 0.5):
            return ratio * z_s + psi * network(z, torch.full((2,), at, dtype=torch.float64))

        z = f(z_s, t_s if guess == "start" else t)
        for _ in range(k):
            z = f(z, t)
        states.append(z)
    method = sampler("ode", inversion_time=guess, fixed_point=k)
    found = method.encode(network, start(), GRID, NOISE).states
    torch.testing.assert_close(found, torch.stack(states[::-1]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("guess", ["start", "end"])
def test_a_round_trip_by_the_fixed_point_is_exact(guess):
    def error(k):
        settings = {"inversion_time": guess, "fixed_point": k}
        return float(
            (edited("ode", network, network, lambda x: x, **settings) - start()).abs().max()
        )

    plain, one, two, many = map(error, (0, 1, 2, 40))
    assert plain > 3 * one > 9 * two
    assert many < 1e-13


def test_each_iteration_is_an_evaluation_at_the_noisier_time():
    asked = []

    def eps(x, t):
        asked.append(float(t[0]))
        return network(x, t)

    method = sampler("ode", fixed_point=2)
    method.encode(eps, start(), GRID, NOISE)
    up = pairwise(GRID.t[::-1])
    assert asked == [time for s, t in up for time in (s, t, t)]
    assert len(asked) == method.encode_evaluations_per_step * GRID.steps


def residuals(method, eps, grid):
    """By how much decode misses the state below, in the only step of the grid: [B]."""
    inversion = method.encode(eps, start(), grid, NOISE)
    back = method.decode(eps, inversion.latent, grid, NOISE)
    return (back - start()).flatten(1).norm(dim=1)


@pytest.mark.parametrize("k", [2, 3, 10])
def test_iterations_that_do_not_contract_leave_the_plain_step(k):
    """In one long step the map grows 9-fold; without the rule its error would be 9^k times that of
    the plain step. The other example of the batch still converges."""
    grid = SCHEDULE.grid(1, "linspace")
    a_s, a_t = grid.alpha[1], grid.alpha[0]
    psi = a_t**0.5 * ((1 / a_t - 1) ** 0.5 - (1 / a_s - 1) ** 0.5)

    def eps(x, t):
        steep = torch.tensor([9.0, 0.5]).double().view(2, 1, 1, 1)
        return torch.cos(t / 300).view(-1, 1, 1, 1) - steep / psi * x

    plain = residuals(sampler("ode"), eps, grid)
    found = residuals(sampler("ode", fixed_point=k), eps, grid)
    torch.testing.assert_close(found[0], plain[0], rtol=1e-9, atol=0)
    assert math.isclose(found[1], plain[1] * 0.5**k, rel_tol=1e-6)


def test_iterations_are_counted_from_zero():
    with pytest.raises(UserError, match="fixed_point=-1: must be at least 0"):
        sampler("ode", fixed_point=-1)
