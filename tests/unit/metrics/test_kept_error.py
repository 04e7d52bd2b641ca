"""The error in what the true edit leaves unchanged."""

from __future__ import annotations

import numpy as np
import pytest

from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.registry import build
from tests.unit.metrics.inputs import batch


def test_kept_error_counts_what_was_to_stay() -> None:
    image, truth = np.zeros((2, 4, 4, 3), np.uint8)
    truth[0] = 255
    output = truth.copy()
    output[0] = 7  # not counted
    output[1] = 51  # a fifth, in 4 of the 12 pixels that stay
    example = Example("e", image, truth=truth)
    metric = build("metrics", "kept_error", {})
    assert metric.measure(batch(output), [example]).item() == pytest.approx(0.04 / 3)
    assert metric.measure(batch(truth), [example]).item() == 0
    with pytest.raises(UserError, match="'all'"):
        metric.check(Example("all", image, truth=truth | 1))
