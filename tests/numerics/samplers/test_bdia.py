"""BDIA, by its equations and propositions."""

import pytest
import torch

from sde_edit.diffusion.denoiser import no_edit
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.steps import ddim
from tests.numerics.samplers.inputs import GRID, NOISE, edited, network, sampler, start


def test_bdia_with_gamma_0_is_ddim():
    x = sampler("bdia", gamma=0.0).decode(network, start(), GRID, NOISE)
    torch.testing.assert_close(
        x, sampler("ode").decode(network, start(), GRID, NOISE), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("gamma", [0.9, 0.95, 1.0])
def test_bdia_inverts_up_to_round_off(gamma):
    out = edited("bdia", network, network, lambda x: x, gamma=gamma)
    torch.testing.assert_close(out, start(), rtol=1e-10, atol=1e-10)


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
