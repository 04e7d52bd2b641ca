"""Rex with Euler's method, in the terms of its paper."""

import pytest
import torch

from sde_edit.diffusion.schedule import Grid
from sde_edit.errors import UserError
from tests.numerics.samplers.inputs import (
    NOISE,
    SCHEDULE,
    decode,
    edited,
    exact,
    prompted,
    rounded,
    sampler,
    start,
)


def data_prediction(eps, x, grid, n):
    a = grid.alpha[n]
    e = eps(x, torch.full((2,), grid.t[n], dtype=torch.float64))
    return (x - (1 - a) ** 0.5 * e) / a**0.5


def noise_prediction(eps, x, grid, n):
    return eps(x, torch.full((2,), grid.t[n], dtype=torch.float64))


def coupled(eps, x, grid, zeta, form):
    """McCallum and Foster's coupling of Euler steps of x / weight in `time`, written plainly."""
    if form == "data":
        predict, weight = data_prediction, [(1 - a) ** 0.5 for a in grid.alpha]
        time = [(a / (1 - a)) ** 0.5 for a in grid.alpha]
    else:
        predict, weight = noise_prediction, [a**0.5 for a in grid.alpha]
        time = [((1 - a) / a) ** 0.5 for a in grid.alpha]
    u = v = x / weight[0]
    for n in range(grid.steps):
        h = time[n + 1] - time[n]
        u = zeta * u + (1 - zeta) * v + h * predict(eps, weight[n] * v, grid, n)
        v = v + h * predict(eps, weight[n + 1] * u, grid, n + 1)
    return weight[-1] * u


@pytest.mark.parametrize("zeta", [0.5, 0.999])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_it_is_the_coupling_of_the_data_prediction(guidance, zeta):
    grid, eps = SCHEDULE.grid(20), exact("low", guidance)
    out = decode("rex", grid, eps, zeta=zeta)
    wanted = coupled(eps, start(), grid, zeta, "data")
    torch.testing.assert_close(out, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("zeta", "steps"), [(0.999, 20), (0.999, 1), (0.9, 20), (1.0, 20)])
def test_it_inverts_up_to_round_off(zeta, steps):
    eps = rounded(prompted(0.2, 7.5), torch.bfloat16)
    out = edited("rex", eps, eps, lambda x: x, SCHEDULE.grid(steps), zeta=zeta)
    torch.testing.assert_close(out, start(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("guidance", [1.0, 3.0, 7.5])
def test_it_is_stable_in_data_prediction_and_not_in_noise_prediction(guidance):
    """Nearer to the solution than DDIM in as many steps; in the form that predicts eps the states
    part from guidance 3 on."""
    grid, eps = SCHEDULE.grid(25), exact("low", guidance)
    fine = decode("ode2", SCHEDULE.grid(999), eps)

    def error(out):
        return float((out - fine).square().mean().sqrt())

    assert error(decode("rex", grid, eps)) < error(decode("ode", grid, eps))
    if guidance > 1:
        assert error(coupled(eps, start(), grid, 0.999, "noise")) > 1


def test_decode_ends_without_noise_and_encode_cannot_begin_there():
    grid = SCHEDULE.grid(20, "linspace", "zero")
    with pytest.raises(UserError, match=r"alpha = 1: use grid\.last_sigma=sigma_min"):
        sampler("rex").encode(exact("low"), start(), grid, NOISE)
    near = Grid(grid.t, (*grid.alpha[:-1], 1 - 1e-12))
    at_1, beside = (decode("rex", g, exact("low")) for g in (grid, near))
    torch.testing.assert_close(at_1, beside, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("zeta", [0.0, 1.1])
def test_a_coupling_that_cannot_be_inverted_is_refused(zeta):
    with pytest.raises(UserError, match=r"sampler\.zeta=.* above 0 and at most 1"):
        sampler("rex", zeta=zeta)
