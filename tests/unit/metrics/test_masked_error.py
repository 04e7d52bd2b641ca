"""The error within a region of the mask."""

import numpy as np
import pytest

from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.registry import build
from tests.unit.metrics.inputs import pair


@pytest.mark.parametrize("region", ["hidden", "known"])
def test_masked_error_counts_its_region_alone(region):
    outputs, examples = pair(2)
    values = build("metrics", "masked_error", {"region": region}).measure(outputs, examples)[:, 0]
    for value, output, example in zip(values, outputs.numpy(), examples, strict=True):
        inside = (example.mask > 0.5) == (region == "hidden")
        difference = (output[inside].astype(float) - example.truth[inside]) / 255
        assert float(value) == pytest.approx((difference**2).mean())


def test_masked_error_names_the_example_without_such_pixels():
    _, (first, *_) = pair(2)
    full = Example("full", first.image, mask=np.ones((24, 24), np.float32))
    known = build("metrics", "masked_error", {"region": "known"})
    with pytest.raises(UserError, match=r"'full' leaves no known pixel"):
        known.check(full)
    with pytest.raises(UserError, match=r"'bare' has no mask"):
        known.check(Example("bare", first.image))
