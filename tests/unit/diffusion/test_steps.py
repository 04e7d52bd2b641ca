"""Steps between two times."""

import pytest

from sde_edit.diffusion.steps import half_log_snr, predict_x0


def test_half_log_snr_and_x0():
    assert half_log_snr(0.5) == 0
    assert half_log_snr(1.0) == float("inf")
    x0, eps, alpha = 0.3, -1.2, 0.7
    x = alpha**0.5 * x0 + (1 - alpha) ** 0.5 * eps
    assert predict_x0(x, eps, alpha) == pytest.approx(x0)
