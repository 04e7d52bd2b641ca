"""O-BELM, by its equation and by what its lattice is for."""

import pytest
import torch

from sde_edit.diffusion.denoiser import no_edit
from tests.numerics.samplers.inputs import (
    GRID,
    NOISE,
    SCHEDULE,
    decode,
    exact,
    network,
    sampler,
    start,
)


def asked(eps, x, t):
    return eps(x, torch.full((2,), t, dtype=torch.float64))


def coefficients(grid, i):
    """Of x_{i-1}'s equation, i counted from the noisiest: of x_{i+1}, of x_i and of eps."""
    (a_up, a, a_down) = (grid.alpha[k] ** 0.5 for k in (i - 1, i, i + 1))
    up, here, down = (((1 - grid.alpha[k]) / grid.alpha[k]) ** 0.5 for k in (i - 1, i, i + 1))
    h_up, h = up - here, here - down
    return (
        h**2 / h_up**2 * a_down / a_up,
        (h_up**2 - h**2) / h_up**2 * a_down / a,
        -h * (h + h_up) / h_up * a_down,
    )


def ddim_step(eps, x, grid, i, k):
    """From time i to its neighbour k."""
    a, b = grid.alpha[i], grid.alpha[k]
    e = asked(eps, x, grid.t[i])
    return (b / a) ** 0.5 * (x - (1 - a) ** 0.5 * e) + (1 - b) ** 0.5 * e


def down(eps, x, grid):
    return down_from([x, ddim_step(eps, x, grid, 0, 1)], eps, grid)


def down_from(pair, eps, grid):
    path = [*pair]
    for i in range(1, grid.steps):
        of_up, of_here, of_eps = coefficients(grid, i)
        e = asked(eps, path[-1], grid.t[i])
        path.append(of_up * path[-2] + of_here * path[-1] + of_eps * e)
    return path[-1]


def up(eps, x, grid):
    path = [x, ddim_step(eps, x, grid, grid.steps, grid.steps - 1)]
    for i in range(grid.steps - 1, 0, -1):
        of_up, of_here, of_eps = coefficients(grid, i)
        e = asked(eps, path[-1], grid.t[i])
        path.append((path[-2] - of_here * path[-1] - of_eps * e) / of_up)
    return path[::-1]


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("end", ["sigma_min", "zero"])
@pytest.mark.parametrize("spacing", ["linspace", "leading", "logsnr"])
def test_both_ways_follow_the_equation(spacing, end, guidance):
    grid, eps = SCHEDULE.grid(20, spacing, end), exact("low", guidance)
    found = sampler("obelm").encode(eps, start(), grid, NOISE).states
    torch.testing.assert_close(found, torch.stack(up(eps, start(), grid)), rtol=1e-7, atol=1e-7)
    out = decode("obelm", grid, eps)
    torch.testing.assert_close(out, down(eps, start(), grid), rtol=1e-7, atol=1e-7)


def test_decode_visits_the_states_of_encode_bit_by_bit():
    method, seen = sampler("obelm"), []
    inversion = method.encode(network, start(), GRID, NOISE)

    def spy(x, i):
        seen.append(x)
        return x

    method.decode(network, inversion.latent, GRID, NOISE, spy, inversion)
    assert torch.equal(torch.stack(seen), inversion.states)


def test_an_edit_of_the_latent_enters_the_next_state_as_by_ddim():
    """With the source's eps, which cancels: by the ratio of the two sqrt(alpha)."""
    method, seen = sampler("obelm"), []
    inversion = method.encode(network, start(), GRID, NOISE)

    def spy(x, i):
        seen.append(x)
        return x

    method.decode(network, inversion.latent + 0.5, GRID, NOISE, spy, inversion)
    wanted = inversion.states[1] + 0.5 * (GRID.alpha[1] / GRID.alpha[0]) ** 0.5
    torch.testing.assert_close(seen[1], wanted, rtol=1e-12, atol=1e-12)


def test_sums_without_the_lattice_miss_the_source_in_some_bit():
    """What the lattice is for: float64 alone returns to the source to 1e-12, not in every bit."""
    x_0 = start()
    again = down_from(up(network, x_0, GRID)[:2], network, GRID)
    assert 0 < (again - x_0).abs().max() < 1e-12
    inversion = sampler("obelm").encode(network, x_0, GRID, NOISE)
    out = sampler("obelm").decode(network, inversion.latent, GRID, NOISE, no_edit, inversion)
    assert torch.equal(out, inversion.states[-1])
