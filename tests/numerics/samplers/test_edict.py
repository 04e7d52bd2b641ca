"""EDICT, by its equations."""

import pytest
import torch

from tests.numerics.samplers.inputs import NOISE, SCHEDULE, edited, network, sampler, start


@pytest.mark.parametrize("p", [0.93, 1.0])
def test_edict_inverts_up_to_round_off(p):
    out = edited("edict", network, network, lambda x: x, p=p)
    torch.testing.assert_close(out, start(), rtol=1e-9, atol=1e-9)


def test_edict_step_by_its_equations():
    """Eq. 9 to 12, written with a_i and b_i."""
    grid, p = SCHEDULE.grid(1), 0.93
    (s, a_s, a_t), x = next(iter(grid.intervals())), start()
    a = (a_t / a_s) ** 0.5
    b = (1 - a_t) ** 0.5 - (1 - a_s) ** 0.5 * a
    t = torch.full((2,), s, dtype=torch.float64)
    z_inter = a * x + b * network(x, t)
    y_inter = a * x + b * network(z_inter, t)
    out = sampler("edict", p=p).decode(network, x, grid, NOISE)
    torch.testing.assert_close(out, p * z_inter + (1 - p) * y_inter, rtol=1e-12, atol=1e-12)
