"""What every inverting sampler keeps to."""

import pytest
import torch

from sde_edit.diffusion.denoiser import no_edit
from tests.numerics.samplers.inputs import GRID, NOISE, network, sampler, start


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        *((k, {}) for k in ("ode", "ode2", "sde", "sde2", "sde_textbook", "ef")),
        *((k, {}) for k in ("bdia", "obelm", "cbdia", "edict", "rex", "none")),
        ("ode", {"inversion_time": "end"}),
        ("ode", {"fixed_point": 2}),
        ("edict", {"alternate": False}),
    ],
)
def test_one_inversion_serves_a_sweep_of_t_0(kind, settings):
    method = sampler(kind, **settings)
    whole = method.encode(network, start(), GRID, NOISE)
    torch.testing.assert_close(whole.states[-1].float(), start().float())
    for t_0 in (0.3, 0.35, 0.5, 0.8):
        part = GRID.truncated(t_0)
        own = method.encode(network, start(), part, NOISE)
        shared = whole.tail(GRID.steps - part.steps)
        both = zip((own.states, *own.extra), (shared.states, *shared.extra), strict=True)
        for alone, cut in both:
            torch.testing.assert_close(alone, cut, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "decoding", "encoding"),
    [("bdia", 19, 20), ("obelm", 19, 20), ("edict", 40, 40), ("rex", 39, 40)],
)
def test_evaluations_of_a_round_trip(kind, decoding, encoding):
    """BDIA and O-BELM need as many as DDIM and one fewer in decode, EDICT and Rex twice as many."""
    calls = []

    def eps(x, t):
        calls.append(float(t[0]))
        return network(x, t)

    method = sampler(kind)
    inversion = method.encode(eps, start(), GRID, NOISE)
    assert len(calls) == encoding
    method.decode(eps, inversion.latent, GRID, NOISE, no_edit, inversion)
    assert len(calls) == encoding + decoding
