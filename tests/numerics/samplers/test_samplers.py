"""The samplers against diffusers' schedulers, a Gaussian with closed-form eps, and theory."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from sde_edit.diffusion.denoiser import no_edit
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import SPACINGS, Grid, Schedule
from sde_edit.registry import build

SCHEDULE = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000)
NOISE = Noise(seed=3, example_ids=("a", "b"))
ALGORITHM = {
    "ode": ("dpmsolver++", 1),
    "sde": ("sde-dpmsolver++", 1),
    "ode2": ("dpmsolver++", 2),
    "sde2": ("sde-dpmsolver++", 2),
}


def network(x, t):
    """An arbitrary smooth function of x and t that mixes pixels and channels."""
    shifted = x.roll(1, -1) + 0.5 * x.roll(1, 1)
    return torch.tanh(shifted * torch.cos(t / 300).view(-1, 1, 1, 1) + 0.1) + 0.2 * x


def start():
    return torch.from_numpy(np.random.default_rng(0).standard_normal((2, 4, 6, 6)))


def decode(kind, grid, eps=network, x=None, **settings):
    x = start() if x is None else x
    return build("samplers", kind, settings).decode(eps, x, grid, NOISE, no_edit)


def in_float64(scheduler):
    """Give a diffusers scheduler our alpha_bar: its own table is float32."""
    alpha = torch.tensor(SCHEDULE.alpha, dtype=torch.float64)
    scheduler.alphas_cumprod = alpha
    scheduler.alphas = alpha / torch.cat([torch.ones(1, dtype=torch.float64), alpha[:-1]])
    scheduler.betas = 1 - scheduler.alphas
    scheduler.final_alpha_cumprod = alpha[0]
    scheduler.one = torch.tensor(1.0, dtype=torch.float64)
    return scheduler


CONFIG = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def diffusers_trajectory(kind, spacing, steps, last_sigma):
    """The multistep solver of diffusers, fed with our noise and with sigmas in float64."""
    algorithm, order = ALGORITHM[kind]
    scheduler = in_float64(
        DPMSolverMultistepScheduler(
            **CONFIG,
            algorithm_type=algorithm,
            solver_order=order,
            timestep_spacing=spacing,
            steps_offset=1,
            final_sigmas_type=last_sigma,
        )
    )
    scheduler.set_timesteps(steps)
    grid = SCHEDULE.grid(steps, spacing, last_sigma)
    # diffusers stores sigmas and draws noise in float32, and its "leading" skips the noisiest
    # time; the update itself is what is compared here, on our grid.
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


@pytest.mark.parametrize("last_sigma", ["sigma_min", "zero"])
@pytest.mark.parametrize("steps", [10, 25, 50, 100])
def test_linspace_times_are_those_of_the_paper(steps, last_sigma):
    """diffusers' DPM-Solver with sigma_min, as the published inpainting code runs it."""
    scheduler = DPMSolverMultistepScheduler(**CONFIG, final_sigmas_type=last_sigma)
    scheduler.set_timesteps(steps)
    grid = SCHEDULE.grid(steps, "linspace", last_sigma)
    assert scheduler.timesteps.tolist() == list(grid.t[:-1])
    sigmas = [math.sqrt((1 - a) / a) for a in grid.alpha]
    np.testing.assert_allclose(scheduler.sigmas.numpy(), sigmas, rtol=2e-5, atol=1e-7)


# ------------------------------------------------------------------ a Gaussian, where all is known

MEAN, VARIANCE = 1.5, 0.25


def gaussian_eps(alpha_of):
    """eps of data N(MEAN, VARIANCE): x_t is Gaussian with known mean and variance."""

    def eps(x, t):
        a = alpha_of(float(t[0]))
        return (1 - a) ** 0.5 * (x - a**0.5 * MEAN) / (a * VARIANCE + 1 - a)

    return eps


def cosine_alpha(t):
    return math.cos(t * math.pi / 2) ** 2


def smooth_grid(steps):
    """Evenly spaced in lambda between t = 0.9 and t = 0.1, where the solvers' order is defined."""
    ends = [0.5 * math.log(cosine_alpha(t) / (1 - cosine_alpha(t))) for t in (0.9, 0.1)]
    alpha = [1 / (1 + math.exp(-2 * lam)) for lam in np.linspace(*ends, steps + 1)]
    t = [2 / math.pi * math.acos(a**0.5) for a in alpha]
    return Grid(tuple(t), tuple(alpha))


def ode_error(kind, steps, **settings):
    """Distance to the exact solution of the ODE: z-scores under q_t are carried unchanged."""
    grid = smooth_grid(steps)
    x = start()

    def moments(a):
        return a**0.5 * MEAN, (a * VARIANCE + 1 - a) ** 0.5

    (m0, s0), (m1, s1) = moments(grid.alpha[0]), moments(grid.alpha[-1])
    exact = m1 + s1 * (x - m0) / s0
    return float(
        (decode(kind, grid, gaussian_eps(cosine_alpha), x, **settings) - exact).abs().max()
    )


ODES = [
    *[("ode", {}, 1), ("ode2", {}, 2), ("plms", {}, 2)],
    *[("bdia", {"gamma": 1.0}, 2), ("bdia", {"gamma": 0.5}, 1), ("bdia", {"gamma": 0.0}, 1)],
    *[("edict", {"p": 0.93}, 1), ("edict", {"p": 1.0}, 1)],
]


@pytest.mark.parametrize(("kind", "settings", "order"), ODES)
def test_order_of_convergence(kind, settings, order):
    errors = [ode_error(kind, steps, **settings) for steps in (32, 64, 128, 256)]
    slopes = -np.diff(np.log2(errors))
    assert slopes[-1] == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize(("kind", "order"), [("sde", 1), ("sde2", 2)])
def test_weak_order_of_the_variance(kind, order):
    """Linear eps: every step is affine in x, so the end's mean and variance follow exactly from
    the response to unit inputs, without sampling."""
    errors = []
    for steps in (32, 64, 128, 256):
        mean, variance = affine_moments(kind, smooth_grid(steps))
        a = smooth_grid(steps).alpha[-1]
        errors.append(abs(variance - (a * VARIANCE + 1 - a)) + abs(mean - a**0.5 * MEAN))
    assert -np.diff(np.log2(errors))[-1] > 0.85
    if order == 2:  # the drift is second order, the noise term first: smaller error all the same
        first = affine_moments("sde", smooth_grid(256))[1]
        a = smooth_grid(256).alpha[-1]
        assert errors[-1] < abs(first - (a * VARIANCE + 1 - a))


class Impulse:
    """Stands in for Noise: zero but for one step."""

    def __init__(self, at):
        self.at = at

    def like(self, x, purpose, step=0):
        return torch.full_like(x, 1.0 if step == self.at else 0.0)


def affine_moments(kind, grid):
    """Mean and variance at the end, x_T ~ q_T: the final x is linear in x_T and every w."""
    sampler, eps = build("samplers", kind, {}), gaussian_eps(cosine_alpha)

    def end(x, at):
        x = torch.full((1, 1, 1, 1), x, dtype=torch.float64)
        return float(sampler.decode(eps, x, grid, at, no_edit))

    a = grid.alpha[0]
    origin = end(0.0, Impulse(None))
    gain = end(1.0, Impulse(None)) - origin
    noise = [end(0.0, Impulse(i)) - origin for i in range(grid.steps)]
    mean = origin + gain * a**0.5 * MEAN
    variance = gain**2 * (a * VARIANCE + 1 - a) + sum(w**2 for w in noise)
    return mean, variance


def test_first_order_multistep_solvers_are_ddim_and_ddpm():
    """Two steps that may not look back are two first-order steps."""
    grid = SCHEDULE.grid(2)
    torch.testing.assert_close(decode("ode2", grid), decode("ode", grid))
    torch.testing.assert_close(decode("sde2", grid), decode("sde", grid))
