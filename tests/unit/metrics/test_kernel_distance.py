"""The kernel distance, against loops and clean-fid."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sde_edit.metrics.kernel_distance import kernel_distance
from tests.unit.metrics.inputs import features


def brute_mmd(x: Tensor, y: Tensor) -> float:
    """Gretton et al. 2012, Eq. 3, with the kernel of Binkowski et al. 2018, by loops."""

    def k(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / len(a) + 1) ** 3

    n = len(x)
    within = sum(k(z[i], z[j]) for z in (x, y) for i in range(n) for j in range(n) if i != j)
    across = sum(k(a, b) for a in x for b in y)
    return within / (n * (n - 1)) - 2 * across / n**2


def test_kernel_distance_matches_loops_and_resampling(monkeypatch):
    monkeypatch.setattr("sde_edit.metrics.kernel_distance._BLOCK", 3)
    x, y = features(0, 7, 5), features(1, 7, 5)
    drawn = torch.tensor([0, 2, 2, 5, 6, 6, 6])
    counts = torch.stack([torch.ones(7), torch.bincount(drawn, minlength=7)]).double()
    expected = [brute_mmd(x, y), brute_mmd(x[drawn], y[drawn])]
    np.testing.assert_allclose(kernel_distance(x, y, counts), expected)


def test_kernel_distance_is_that_of_clean_fid():
    from cleanfid.fid import kernel_distance as theirs

    x, y = features(0, 30, 16), features(1, 30, 16)
    expected = theirs(x.numpy(), y.numpy(), num_subsets=1, max_subset_size=30)
    assert float(kernel_distance(x, y, torch.ones(1, 30).double())) == pytest.approx(expected)


def test_kernel_distance_is_unbiased():
    """Over independent pairs of samples of one distribution its mean is 0 within its error."""
    ones = torch.ones(1, 20).double()
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 400, 20, 4, dtype=torch.float64, generator=draw)
    values = torch.stack([kernel_distance(a, b, ones)[0] for a, b in zip(x, y, strict=True)])
    assert abs(float(values.mean())) < 3 * float(values.std()) / 400**0.5
