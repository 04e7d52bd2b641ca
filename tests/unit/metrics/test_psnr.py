"""PSNR, against its definition."""

import numpy as np
import torch

from sde_edit.registry import build
from tests.unit.metrics.inputs import pair, truths_of


def test_psnr_by_hand():
    outputs, examples = pair(0)
    difference = (outputs.numpy().astype(float) - truths_of(examples)) / 255
    expected = 10 * np.log10(1 / (difference**2).mean((1, 2, 3)))
    rows = build("metrics", "psnr", {}).measure(outputs, examples)
    np.testing.assert_allclose(rows[:, 0], expected, rtol=1e-12)


def test_psnr_of_identical_images_is_finite():
    outputs, examples = pair(0)
    rows = build("metrics", "psnr", {}).measure(torch.from_numpy(truths_of(examples)), examples)
    np.testing.assert_allclose(rows[:, 0], 20 * np.log10(510))
    assert outputs.shape == (4, 24, 24, 3)
