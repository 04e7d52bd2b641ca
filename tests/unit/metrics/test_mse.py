"""Mean squared error, against NumPy."""

import numpy as np
import pytest

from sde_edit.registry import build
from tests.unit.metrics.inputs import assert_batches_agree, pair, truths_of


@pytest.mark.parametrize("against", ["truth", "source"])
def test_mse_is_the_mean_of_the_squares(against):
    outputs, examples = pair(1)
    metric = build("metrics", "mse", {"against": against})
    others = truths_of(examples) if against == "truth" else np.stack([e.image for e in examples])
    expected = np.mean((outputs.numpy() / 255.0 - others / 255.0) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(metric.measure(outputs, examples)[:, 0], expected, rtol=1e-12)
    assert_batches_agree(metric, outputs, examples)
