"""The Fréchet distance, against its definition."""

import numpy as np
import pytest
import torch
from scipy import linalg

from sde_edit.errors import UserError
from sde_edit.metrics.frechet import frechet_distance
from sde_edit.registry import build
from tests.unit.metrics.inputs import features


def textbook_frechet(x: np.ndarray, y: np.ndarray) -> float:
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(s1 @ s2)
    return float(
        ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * np.trace(root).real
    )


@pytest.mark.parametrize(("n", "d"), [(200, 12), (13, 12)])
def test_frechet_matches_the_textbook(n, d):
    x, y = features(0, n, d), features(1, n, d)
    expected = textbook_frechet(x.numpy(), y.numpy())
    assert float(frechet_distance(x, y, torch.ones(n).double())) == pytest.approx(expected)


def test_frechet_with_fewer_images_than_features():
    """Regularised until the textbook root exists, then let the regularisation go to 0."""
    x, y = features(0, 10, 24), features(1, 10, 24)
    s1, s2 = (np.cov(z.numpy(), rowvar=False) + 1e-9 * np.eye(24) for z in (x, y))
    root = linalg.sqrtm(linalg.sqrtm(s1) @ s2 @ linalg.sqrtm(s1)).real
    shift = (x.mean(0) - y.mean(0)).square().sum()
    expected = float(shift) + np.trace(s1 + s2 - 2 * root)
    actual = float(frechet_distance(x, y, torch.ones(10).double()))
    assert actual == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n", [4, 500])
def test_frechet_of_a_shifted_and_scaled_copy_is_known(n):
    """y = 3 x + 1: means differ, S2 = 9 S1, so the spread term is (3 - 1)^2 tr S1."""
    x = features(0, n, 8)
    expected = ((2 * x.mean(0) + 1) ** 2).sum() + 4 * x.var(0).sum()
    distance = frechet_distance(x, 3 * x + 1, torch.ones(n).double())
    assert float(distance) == pytest.approx(float(expected))
    assert float(frechet_distance(x, x, torch.ones(n).double())) == pytest.approx(0, abs=1e-10)


def test_unknown_extractor_is_refused():
    with pytest.raises(UserError, match="extractor"):
        build("metrics", "frechet", {"extractor": "inception"})
