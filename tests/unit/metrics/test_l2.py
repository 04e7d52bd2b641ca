"""The L2 distance, against its definition."""

import numpy as np
import pytest
import torch

from sde_edit.api.example import Example
from sde_edit.registry import build
from tests.unit.metrics.inputs import pair, truths_of


def test_l2_is_the_norm_and_not_the_mean():
    outputs, examples = pair(0)
    difference = (outputs.numpy().astype(float) - truths_of(examples)) / 255
    expected = [np.linalg.norm(one.ravel()) for one in difference]
    rows = build("metrics", "l2", {}).measure(outputs, examples)
    np.testing.assert_allclose(rows[:, 0], expected, rtol=1e-12)


def test_l2_of_black_and_white():
    white = torch.full((1, 256, 256, 3), 255, dtype=torch.uint8)
    black = Example("black", np.zeros((256, 256, 3), np.uint8))
    rows = build("metrics", "l2", {}).measure(white, [black])
    assert rows.item() == pytest.approx(3**0.5 * 256)
    assert not build("metrics", "l2", {}).measure(torch.zeros_like(white), [black]).any()
