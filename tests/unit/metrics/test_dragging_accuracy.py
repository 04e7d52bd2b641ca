"""The Dragging Accuracy Index, against a plain transcription of its published code."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sde_edit.api.example import Drag, Example
from sde_edit.errors import UserError
from sde_edit.registry import build
from tests.unit.metrics.inputs import assert_batches_agree

PAIRS = [((12, 14), (25, 20)), ((30, 10), (11, 28)), ((20.7, 20.2), (21, 30.9))]


@pytest.fixture
def dragged():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 2, 42, 45, 3), dtype=np.uint8)
    drags = tuple(Drag(*pair) for pair in PAIRS)
    examples = [
        Example("a", images[0, 0], drags=drags),
        Example("b", images[0, 1], drags=drags[:1]),
    ]
    return torch.from_numpy(images[1]), examples


def metric(radius):
    return build("metrics", "dragging_accuracy", {"radius": radius})


def published(original, result, points, radius):
    """GoodDrag's compute_dai, which divides by the number of points twice."""

    def patch(image, center):
        x, y = center
        return image[y - radius : y + radius + 1, x - radius : x + radius + 1]

    dai = 0.0
    for start, target in points:
        dai += np.sum(np.square(patch(original, start) - patch(result, target)))
    dai /= len(points)
    dai /= (1 + 2 * radius) ** 2
    return dai / len(points)


@pytest.mark.parametrize("radius", [0, 1, 5, 10])
def test_it_is_the_published_index_times_the_number_of_pairs(dragged, radius):
    outputs, examples = dragged
    values = metric(radius).measure(outputs, examples)[:, 0]
    for value, output, example in zip(values, outputs.numpy(), examples, strict=True):
        points = [
            tuple(tuple(int(c) for c in point) for point in (d.source, d.target))
            for d in example.drags
        ]
        expected = published(example.image / 255, output / 255, points, radius) * len(points)
        assert float(value) == pytest.approx(expected, rel=1e-12)
    assert_batches_agree(metric(radius), outputs, examples)


def test_of_a_patch_beyond_the_image_what_both_have_inside_counts(dragged):
    outputs, (example, _) = dragged
    at_the_edge = replace(example, drags=(Drag((2, 40), (43, 1)),))
    value = metric(20).measure(outputs[:1], [at_the_edge])
    source, target = example.image / 255, outputs[0].numpy() / 255
    a, b = source[39:42, 0:4], target[0:3, 41:45]  # two left, one right; one up, one down
    assert float(value) == pytest.approx(np.square(a - b).sum(-1).mean(), rel=1e-12)


def test_a_copied_patch_scores_0_and_white_for_black_3():
    black = np.zeros((30, 30, 3), np.uint8)
    example = Example("a", black, drags=(Drag((10, 10), (20, 15)),))
    images = torch.from_numpy(np.stack([black, black + 255]))
    assert metric(5).measure(images, [example, example]).tolist() == [[0.0], [3.0]]
    with pytest.raises(UserError, match="'b' has no drags"):
        metric(5).check(Example("b", black))
    with pytest.raises(UserError, match="radius"):
        metric(-1)
