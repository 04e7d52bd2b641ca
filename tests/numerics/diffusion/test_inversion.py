"""The forward process."""

import pytest
import torch

from sde_edit.diffusion.forward import forward_process
from sde_edit.diffusion.inversion import encode_by_noising
from sde_edit.diffusion.noise import Noise
from tests.numerics.samplers.inputs import GRID, NOISE, SCHEDULE, network, start


def test_the_source_is_asked_with_the_rows_of_a_batch_at_one_time_after_the_other():
    """A network that rounds otherwise for another number of rows gives decode the same eps."""
    calls = []

    def eps(x, t):
        calls.append((len(x), set(t.tolist())))
        return network(x, t)

    encode_by_noising(eps, forward_process(start(), GRID, NOISE), GRID)
    assert calls == [(2, {t}) for t in GRID.t[:-1]]


def test_forward_trajectory_has_the_moments_of_eq_7():
    """x_s = sqrt(a_s) x_0 + sqrt(1 - a_s) w at every time, whatever steps led there."""
    noise = Noise(0, tuple(f"{i}" for i in range(300)))
    grid = SCHEDULE.grid(8, "linspace", "zero")
    x = forward_process(torch.full((300, 1, 8, 8), 2.0, dtype=torch.float64), grid, noise)
    for x_s, a in zip(x, grid.alpha, strict=True):
        n = x_s.numel()
        assert float(x_s.mean()) == pytest.approx(2 * a**0.5, abs=5 * ((1 - a) / n) ** 0.5 + 1e-12)
        assert float(x_s.var()) == pytest.approx(1 - a, abs=5 * (1 - a) * (2 / n) ** 0.5 + 1e-12)
