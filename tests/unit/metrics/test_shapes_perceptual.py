"""The perceptual distance by the embedded recogniser."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from tests.unit.metrics.inputs import loaded, signed, truths


def test_shapes_perceptual_is_lpips_without_calibration(recogniser, images, examples):
    with torch.no_grad():
        maps = zip(
            recogniser.image_features(signed(images)),
            recogniser.image_features(signed(truths(examples))),
            strict=True,
        )
        # Two unit vectors differ by 2 - 2 cos.
        stages = [(2 - 2 * F.cosine_similarity(x, y)).mean((1, 2)) for x, y in maps]
    metric = loaded("shapes_perceptual")
    rows = metric.measure(images, examples)
    torch.testing.assert_close(
        rows[:, 0].float(), torch.stack(stages).mean(0), rtol=1e-4, atol=1e-5
    )
    same = metric.measure(truths(examples), examples)
    torch.testing.assert_close(same, torch.zeros_like(same))


def test_perceptual_distance_from_the_source_is_zero_where_nothing_was_edited(
    recogniser, images, examples
):
    answered = [replace(e, truth=image) for e, image in zip(examples, images.numpy(), strict=True)]
    sources = torch.from_numpy(np.stack([example.image for example in answered]))
    metric = loaded("shapes_perceptual", against="source")
    assert (metric.measure(images, answered) > 0.01).all()
    same = metric.measure(sources, answered)
    torch.testing.assert_close(same, torch.zeros_like(same))
