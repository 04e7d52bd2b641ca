"""What a metric compares an output with."""

import numpy as np
import pytest
import torch

from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.evaluation.per_image import (
    captions,
    check_caption,
    distribution_references,
    reference,
    references,
)
from sde_edit.registry import build
from tests.unit.metrics.inputs import pair


def test_reference_is_the_truth_where_it_is_known():
    image, truth = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)
    assert reference(Example("a", image, truth=truth)) is truth
    assert reference(Example("a", image)) is image
    assert reference(Example("a", image, truth=truth), "source") is image


@pytest.mark.parametrize("kind", ["psnr", "ssim", "l2"])
def test_a_metric_against_the_source_leaves_the_truth_alone(kind):
    outputs, examples = pair(4)
    sources = [Example(example.id, example.image) for example in examples]
    metric, plain = build("metrics", kind, {"against": "source"}), build("metrics", kind, {})
    torch.testing.assert_close(metric.measure(outputs, examples), plain.measure(outputs, sources))
    assert "against the source image" in metric.convention()
    assert "against the reference" in plain.convention()


def test_distributions_are_compared_with_the_example_s_own_reference():
    image, truth, other = (np.full((2, 2, 3), value, np.uint8) for value in range(3))
    other = other[:1]  # of a size of its own
    examples = [
        Example("a", image),
        Example("b", image, truth=truth),
        Example("c", image, reference=other),
        Example("d", image, truth=truth, reference=other),
    ]
    found = distribution_references(examples)
    assert [image[0, 0, 0] for image in found] == [0, 1, 2, 2]
    assert [len(image) for image in found] == [2, 2, 1, 1]
    assert references(examples)[:, 0, 0, 0].tolist() == [0, 1, 0, 1]


def test_an_edit_is_to_show_its_target():
    image = np.zeros((2, 2, 3), np.uint8)
    examples = [Example("a", image, "a cat"), Example("b", image, "a cat", target="a dog")]
    assert captions(examples) == ["a cat", "a dog"]
    assert captions([Example("c", image, target="a dog")]) == ["a dog"]
    with pytest.raises(UserError, match="'d' has no caption"):
        check_caption(Example("d", image))
