"""Coupled BDIA: what the paper says of it, the rule written plainly, and what it is for."""

import pytest
import torch

from sde_edit.diffusion.denoiser import no_edit
from sde_edit.errors import UserError
from tests.numerics.samplers.inputs import (
    GRID,
    NOISE,
    SCHEDULE,
    decode,
    edited,
    exact,
    network,
    prompted,
    rounded,
    sampler,
    start,
)


@pytest.mark.parametrize("end", ["sigma_min", "zero"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_with_p_1_it_is_bdia_with_gamma_1(guidance, end):
    grid, eps = SCHEDULE.grid(20, "linspace", end), exact("low", guidance)
    close = {"rtol": 1e-7, "atol": 1e-7}
    torch.testing.assert_close(
        decode("cbdia", grid, eps, p=1.0), decode("bdia", grid, eps), **close
    )
    up = [
        sampler(k, **s).encode(eps, start(), grid, NOISE)
        for k, s in (("cbdia", {"p": 1.0}), ("bdia", {}))
    ]
    torch.testing.assert_close(up[0].states, up[1].states, **close)


def test_it_costs_what_edict_costs_but_one():
    def cost(kind):
        calls = []

        def eps(x, t):
            calls.append(float(t[0]))
            return network(x, t)

        method = sampler(kind)
        inversion = method.encode(eps, start(), GRID, NOISE)
        up = len(calls)
        method.decode(eps, inversion.latent, GRID, NOISE, no_edit, inversion)
        return up, len(calls) - up

    assert cost("edict") == (40, 40)
    assert cost("cbdia") == (40, 39)


def test_a_decode_by_its_rule():
    """Eq. 25 as two states, then EDICT's Eq. 11 and 12; written with a_i and b_i."""
    grid, p, eps = SCHEDULE.grid(5), 0.9, exact("low", 3.0)
    z = y = start()
    for i in range(grid.steps):
        (a_s, a_t), t = grid.alpha[i : i + 2], torch.full((2,), grid.t[i], dtype=torch.float64)
        a = (a_t / a_s) ** 0.5
        b = (1 - a_t) ** 0.5 - (1 - a_s) ** 0.5 * a
        forward = a * z + b * eps(z, t) - z
        z_inter = y + forward
        if i + 1 == grid.steps:
            z = z_inter
            break
        t = torch.full((2,), grid.t[i + 1], dtype=torch.float64)
        backward = z_inter / a - b / a * eps(z_inter, t) - z_inter
        y_inter = z - backward
        z = p * z_inter + (1 - p) * y_inter
        y = p * y_inter + (1 - p) * z
    torch.testing.assert_close(decode("cbdia", grid, eps, p=p), z, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("p", "steps"), [(0.93, 20), (0.93, 1), (0.8, 2), (1.0, 20)])
def test_it_inverts_up_to_round_off(p, steps):
    eps = rounded(prompted(0.2, 7.5), torch.bfloat16)
    out = edited("cbdia", eps, eps, lambda x: x, SCHEDULE.grid(steps), p=p)
    torch.testing.assert_close(out, start(), rtol=1e-9, atol=1e-9)


def test_it_holds_under_guidance_where_bdia_and_edict_do_not():
    """Errors at guidance 7.5 in 10 steps; in as many evaluations BDIA takes 20."""
    eps = exact("low", 7.5)
    fine = decode("ode2", SCHEDULE.grid(999), eps)

    def error(kind, steps):
        return float((decode(kind, SCHEDULE.grid(steps), eps) - fine).square().mean().sqrt())

    assert error("cbdia", 10) < 0.15
    assert error("bdia", 20) > 0.15
    assert error("edict", 10) > 0.15


@pytest.mark.parametrize("p", [0.0, 1.1])
def test_a_weight_that_cannot_be_inverted_is_refused(p):
    with pytest.raises(UserError, match=r"sampler\.p=.* above 0 and at most 1"):
        sampler("cbdia", p=p)
