"""BDIA, by its equations and propositions."""

import pytest
import torch

from sde_edit.diffusion.denoiser import no_edit
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddim
from sde_edit.errors import UserError
from tests.numerics.samplers.inputs import (
    GRID,
    NOISE,
    SCHEDULE,
    edited,
    network,
    prompted,
    sampler,
    start,
)


def test_bdia_with_gamma_0_is_ddim():
    x = sampler("bdia", gamma=0.0).decode(network, start(), GRID, NOISE)
    torch.testing.assert_close(
        x, sampler("ode").decode(network, start(), GRID, NOISE), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("gamma", [0.9, 0.95, 1.0])
def test_bdia_inverts_up_to_round_off(gamma):
    out = edited("bdia", network, network, lambda x: x, gamma=gamma)
    torch.testing.assert_close(out, start(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("ending", ["update", "mean"])
def test_every_ending_returns_what_was_not_edited_bit_by_bit(ending):
    method = sampler("bdia", ending=ending)
    inversion = method.encode(network, start(), GRID, NOISE)
    out = method.decode(network, inversion.latent, GRID, NOISE, no_edit, inversion)
    assert torch.equal(out, inversion.states[-1])


STRIDE = 50


def published(eps, pair, gamma, *, reverse):
    """BDIA's published loop, written plainly: times k T / n, of which -T / n has the alpha of 0. Up
    from an image, down from the pair of the two noisiest states; returns the last two states."""
    alpha = {t: SCHEDULE.alpha[max(t, 0)] for t in range(-STRIDE, 1000, STRIDE)}

    def asked(z, t):
        return eps(z, torch.full((2,), float(max(t, 0)), dtype=torch.float64))

    def moved(z, e, a, b):
        return (b / a) ** 0.5 * z + ((1 - b) ** 0.5 - (b / a) ** 0.5 * (1 - a) ** 0.5) * e

    if reverse:
        last, z = None, pair
        for to in range(0, 1000, STRIDE):
            t = to - STRIDE
            e = asked(z, t)
            ahead = moved(z, e, alpha[t], alpha[to])
            if last is not None:
                back = moved(z, e, alpha[t], alpha[max(t - STRIDE, -STRIDE)])
                ahead = last / gamma - back / gamma + ahead
            last, z = z, ahead
        return z, last
    last, z = pair
    for t in range(1000 - 2 * STRIDE, -STRIDE, -STRIDE):
        e = asked(z, t)
        ahead = moved(z, e, alpha[t], alpha[t - STRIDE])
        back = moved(z, e, alpha[t], alpha[t + STRIDE])
        last, z = z, last - (1 - gamma) * (last - z) - gamma * (back - z) + (ahead - z)
    return z, last


@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_bdia_is_the_published_loop(gamma):
    """Up under one prompt, down under another. The published way up begins with an identity."""
    times = range(1000 - STRIDE, -STRIDE, -STRIDE)
    grid = Grid(tuple(map(float, times)), tuple(SCHEDULE.alpha[t] for t in times))
    inversion = sampler("bdia", gamma=gamma).encode(network, start(), grid, NOISE)
    up = published(network, start(), gamma, reverse=True)
    close = {"rtol": 1e-7, "atol": 1e-7}
    torch.testing.assert_close((inversion.states[0], inversion.states[1]), up, **close)
    target = prompted(0.2)
    further, last = published(target, up, gamma, reverse=False)
    wanted = {"state": last, "update": further, "mean": (last + further) / 2}
    for ending, image in wanted.items():
        method = sampler("bdia", gamma=gamma, ending=ending)
        found = method.decode(target, inversion.latent, grid, NOISE, no_edit, inversion)
        torch.testing.assert_close(found, image, **close)
    assert (further - last).abs().max() > 1e-3


def test_an_ending_without_effect_is_refused():
    with pytest.raises(UserError, match="ending=mean has no effect"):
        sampler("bdia", gamma=0.0, ending="mean")


def states(gamma, eps=network):
    """z at every time of the grid, the noisiest first."""
    seen = {}

    def spy(z, i):
        seen[i] = z
        return z

    sampler("bdia", gamma=gamma).decode(eps, start(), GRID, NOISE, spy)
    return [seen[i] for i in range(GRID.steps + 1)]


@pytest.mark.parametrize("gamma", [0.3, 0.8, 1.0])
def test_proposition_1_closed_sum(gamma):
    """Eq. 26 and 27; z counted from the noisiest, so their i is N less ours."""
    z, a, n = states(gamma), GRID.alpha, GRID.steps

    def step(j, k):
        """Delta(t_j -> t_k | z_j)."""
        e = network(z[j], torch.full((2,), GRID.t[j], dtype=torch.float64))
        return ddim(z[j], e, a[j], a[k]) - z[j]

    for i in range(2, n + 1):
        total = z[0] + step(i - 1, i)
        for j in range(1, i):
            power = (-gamma) ** (i - j + 1)
            total = total + (1 - power) / (1 + gamma) * step(j - 1, j)
            total = total - (gamma + power) / (1 + gamma) * step(j, j - 1)
        torch.testing.assert_close(z[i], total, rtol=1e-9, atol=1e-9)


def test_proposition_2_time_symmetry():
    """At gamma = 1 the encode update from (z_{i-1}, z_i) is the decode update from (z_{i+1}, z_i)
    with the times exchanged: running decode on the reversed grid undoes it bit by bit."""
    method, z = sampler("bdia"), states(1.0)
    source = Inversion(torch.stack(z[::-1]))
    back = method.decode(network, z[-1], GRID.reversed(), NOISE, no_edit, source)
    assert torch.equal(back, z[0])
