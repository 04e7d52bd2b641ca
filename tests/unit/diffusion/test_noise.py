import numpy as np
import pytest
import torch

from sde_edit.diffusion.noise import Noise, example_normal


def test_depends_on_every_argument_and_on_nothing_else():
    base = example_normal(0, "a", "init", 0, (4, 8, 8))
    np.testing.assert_array_equal(base, example_normal(0, "a", "init", 0, (4, 8, 8)))
    for other in [(1, "a", "init", 0), (0, "b", "init", 0), (0, "a", "x", 0), (0, "a", "init", 1)]:
        assert abs(np.corrcoef(base.ravel(), example_normal(*other, (4, 8, 8)).ravel())[0, 1]) < 0.3


def test_golden():
    """The noise of a published run must stay what it was."""
    np.testing.assert_allclose(example_normal(0, "a", "init", 0, (3,)), GOLDEN, rtol=1e-6)


GOLDEN = [0.04749279, 0.6997547, 0.3751983]


def test_is_standard_normal():
    from scipy.stats import kstest

    draws = np.concatenate([example_normal(0, f"{i}", "init", 0, (1000,)) for i in range(200)])
    assert kstest(draws, "norm").pvalue > 1e-3


def test_rows_belong_to_examples_and_dtype_follows():
    x = torch.empty(2, 4, 3, 3, dtype=torch.float64)
    noise = Noise(0, ("a", "b")).like(x, "init")
    swapped = Noise(0, ("b", "a")).like(x, "init")
    assert noise.dtype == torch.float64
    assert torch.equal(noise, swapped.flip(0))
    with pytest.raises(ValueError, match="2 rows for 1 examples"):
        Noise(0, ("a",)).like(x, "init")
