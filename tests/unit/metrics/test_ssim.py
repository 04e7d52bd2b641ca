"""SSIM, against its definition."""

import numpy as np
import pytest
from scipy import ndimage

from sde_edit.errors import UserError
from sde_edit.registry import build
from tests.unit.metrics.inputs import pair, truths_of


def wang_ssim(x: np.ndarray, y: np.ndarray, value_range: float) -> float:
    """Wang et al. 2004, Eq. 13, per channel with borders reflected; x, y [H, W, 3]."""

    def blur(image: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(image, 1.5, truncate=3.5, mode="mirror", axes=(0, 1))

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    cov = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float((luminance * (2 * cov + c2) / (var_x + var_y + c2)).mean())


@pytest.mark.parametrize("signed", [False, True])
def test_ssim_matches_wang_in_either_range(signed):
    outputs, examples = pair(1)
    scale = 2 if signed else 1
    x, y = (
        i.astype(float) / 255 * scale - scale + 1 for i in (outputs.numpy(), truths_of(examples))
    )
    expected = [wang_ssim(a, b, scale) for a, b in zip(x, y, strict=True)]
    rows = build("metrics", "ssim", {"signed": signed}).measure(outputs, examples)
    np.testing.assert_allclose(rows[:, 0], expected, atol=2e-6)


def test_an_image_smaller_than_half_the_window_is_named():
    metric = build("metrics", "ssim", {})
    assert metric.measure(*pair(1, size=6)).isfinite().all()
    with pytest.raises(UserError, match=r"SSIM needs sides of 6 pixels, and example 'e0' is 5x5"):
        metric.check(pair(1, size=5)[1][0])
