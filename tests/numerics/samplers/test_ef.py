"""Edit-friendly inversion, against its published loops and by what its noise is."""

import pytest
import torch

from sde_edit.diffusion.forward import forward_process, independent_noise
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.steps import ddpm
from sde_edit.models.gmm import GMM, Component
from tests.numerics.samplers.inputs import NOISE, SCHEDULE, exact, sampler, start


def mu_and_sigma(eps, x_t, grid, i):
    a_t, a = grid.alpha[i], grid.alpha[i + 1]
    e = eps(x_t, torch.full((2,), grid.t[i], dtype=torch.float64))
    variance = (1 - a) / (1 - a_t) * (1 - a_t / a)
    predicted = (x_t - (1 - a_t) ** 0.5 * e) / a_t**0.5
    return a**0.5 * predicted + (1 - a - variance) ** 0.5 * e, variance**0.5


def published(x_0, grid, source, target, skip):
    """The published loops, written plainly: a noise for every time, the z of every step, and down
    along these z from where `skip` steps are left out. Also what z of the last step stands for."""
    states = [
        (a / grid.alpha[-1]) ** 0.5 * x_0
        + (1 - a / grid.alpha[-1]) ** 0.5 * NOISE.like(x_0, "forward", int(t))
        for t, a in zip(grid.t[:-1], grid.alpha[:-1], strict=True)
    ] + [x_0]
    z = []
    for i in range(grid.steps):
        mu, sigma = mu_and_sigma(source, states[i], grid, i)
        last = states[i + 1] - mu
        z.append(last / sigma if sigma else torch.zeros_like(x_0))
    x_t = states[skip]
    for i in range(skip, grid.steps):
        mu, sigma = mu_and_sigma(target, x_t, grid, i)
        x_t = mu + sigma * z[i]
    return x_t, last


@pytest.mark.parametrize("skip", [0, 7])
@pytest.mark.parametrize("end", ["sigma_min", "zero"])
def test_it_is_the_published_loop(skip, end):
    """At alpha = 1 the last step has no noise, and the published z there is 0: it leaves out what
    the last step of the source misses the source by."""
    grid = SCHEDULE.grid(20, "leading", end)
    source, target = exact("low", 3.5), exact("high", 7.5)
    method, part = sampler("ef"), grid.truncated(1 - skip / grid.steps)
    inversion = method.encode(source, start(), grid, NOISE).tail(skip)
    out = method.decode(target, inversion.latent, part, NOISE, inversion=inversion)
    wanted, last = published(start(), grid, source, target, skip)
    if end == "zero":
        wanted = wanted + last
    torch.testing.assert_close(out, wanted, rtol=1e-7, atol=1e-7)
    assert (out - start()).abs().max() > 0.1


GAUSSIAN = GMM((1, 8, 8), (Component("it", 0.5, 0.5),), "scaled_linear", 0.00085, 0.012)


def noise_of(states, grid):
    """The w-bar that leads along the states, [N, B, C, H, W]."""
    eps, w = GAUSSIAN.load("cpu", "float64").denoiser([""] * states.shape[1], 1.0), []
    for i, (s, a_s, a_t) in enumerate(grid.intervals()):
        t = torch.full((states.shape[1],), s)
        mean, sigma = ddpm(states[i], eps(states[i], t), a_s, a_t)
        w.append((states[i + 1] - mean) / sigma)
    return torch.stack(w)


def test_its_noise_is_larger_than_that_of_cycle_sde_and_neighbours_oppose_each_other():
    """Of Gaussian data under their own score. Neighbouring steps share a state, which moves the
    noise of one up and that of the other down."""
    many, grid = Noise(0, tuple(map(str, range(64)))), SCHEDULE.grid(50)
    x_0 = 0.5 + 0.5 * many.like(torch.empty(64, 1, 8, 8, dtype=torch.float64), "data")
    cycle, edit_friendly = (
        noise_of(forward(x_0, grid, many), grid) for forward in (forward_process, independent_noise)
    )
    assert float(edit_friendly.std()) > 2 * float(cycle.std())
    together = torch.stack([edit_friendly[:-1].flatten(), edit_friendly[1:].flatten()])
    assert float(torch.corrcoef(together)[0, 1]) < -0.2
