"""The distance of dragged points from where they belong."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sde_edit.api.example import Drag, Example
from sde_edit.api.metric import NamedMetric
from sde_edit.api.spec import ComponentSpec
from sde_edit.datasets.shapes_drags import ShapesDrags
from sde_edit.errors import UserError
from sde_edit.evaluation.bootstrap import score_of
from sde_edit.registry import build
from tests.unit.metrics.inputs import batch


class Pixels(nn.Module):
    """Stands for DIFT: a pixel's features say its colour."""

    def describe(self) -> str:
        return "the colours of pixels"

    def __call__(self, images_BHWC: Tensor, prompts: Any, noise: Any) -> Tensor:
        x = images_BHWC.permute(0, 3, 1, 2).float() / 255
        return torch.cat([x, 1 - x], dim=1)


def test_drag_distance_is_the_mean_over_points_not_images() -> None:
    image = np.zeros((8, 10, 3), np.uint8)
    image[2, 1], image[5, 5] = (255, 0, 0), (0, 255, 0)
    output = np.zeros_like(image)
    output[2, 4], output[5, 5] = (255, 0, 0), (0, 255, 0)
    red, green = Drag((1.5, 2.5), (7.9, 6.1)), Drag((5, 5), (5, 7))
    metric = build("metrics", "drag_distance", {"path": "embedded:shapes"})
    metric.__dict__["_features"] = Pixels()
    examples = [Example("one", image, drags=(red,)), Example("two", image, drags=(red, green))]
    rows = metric.measure(batch(output, output), examples)
    assert rows.tolist() == [[5.0, 1.0], [7.0, 2.0]]  # (4, 2) to (7, 6), and (5, 5) to (5, 7)
    counts = torch.tensor([[1.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
    assert metric.aggregate(rows, counts).tolist() == [4.0, 5.0]
    score = score_of(
        NamedMetric(ComponentSpec("d", "d", 1), metric),
        {"one": rows[0], "two": rows[1]},
        10,
        seal="",
    )
    assert score.value == 4.0
    assert score.per_example == {"one": 5.0, "two": 3.5}
    with pytest.raises(UserError, match="'none' has no drags"):
        metric.check(Example("none", image))


def test_content_may_be_sought_inside_the_mask_alone() -> None:
    image = np.zeros((8, 10, 3), np.uint8)
    image[2, 1] = (255, 0, 0)
    output = np.zeros_like(image)
    output[7, 9], output[2, 4] = (255, 0, 0), (200, 0, 0)  # a double elsewhere, and what moved
    mask = np.zeros((8, 10), np.float32)
    mask[2, :6] = 1
    metric = build("metrics", "drag_distance", {"path": "embedded:shapes", "within": "mask"})
    anywhere = build("metrics", "drag_distance", {"path": "embedded:shapes"})
    for one in (metric, anywhere):
        one.__dict__["_features"] = Pixels()
    masked = Example("one", image, mask=mask, drags=(Drag((1, 2), (4, 2)),))
    bare = replace(masked, mask=None)
    assert metric.measure(batch(output), [masked]).tolist() == [[0.0, 1.0]]
    assert anywhere.measure(batch(output), [masked])[0, 0] == pytest.approx(math.hypot(5, 5))
    assert metric.measure(batch(output), [bare])[0, 0] == pytest.approx(math.hypot(5, 5))
    assert metric.convention() != anywhere.convention()
    metric.check(masked)
    with pytest.raises(UserError, match="'one' leaves no place to seek content"):
        metric.check(replace(masked, mask=np.zeros_like(mask)))


def test_drag_distance_refuses_layers_that_are_not_there(tiny_model: Any) -> None:
    for layer in ({"block": 2}, {"t": 1000}):
        with pytest.raises(UserError, match="times 0 to 999 and up blocks 0 to 1"):
            build("metrics", "drag_distance", {"path": str(tiny_model), **layer}).load("cpu")
    with pytest.raises(UserError, match="ensemble from 1"):
        build("metrics", "drag_distance", {"path": str(tiny_model), "ensemble": 0})


def test_drag_distance_names_its_setting_and_its_weights(tiny_model: Any, tmp_path: Any) -> None:
    assert (
        "weights not fetched"
        in build("metrics", "drag_distance", {"path": str(tmp_path)}).convention()
    )
    with pytest.raises(UserError, match=r"^path="):
        build("metrics", "drag_distance", {"path": str(tmp_path)}).fetch()
    known = build("metrics", "drag_distance", {"path": str(tiny_model)}).convention()
    assert "weights sha256 " in known


def test_the_embedded_network_finds_what_was_moved() -> None:
    data = ShapesDrags(n=4)
    examples = [data.load(i) for i in data.ids()]
    settings = {"path": "embedded:shapes", "ensemble": 1}
    metric = build("metrics", "drag_distance", settings)
    metric.load("cpu")
    truths = metric.measure(batch(*(e.truth for e in examples)), examples)[:, 0]
    same = metric.measure(batch(*(e.image for e in examples)), examples)[:, 0]
    lengths = [
        math.dist((int(d.source[0]), int(d.source[1])), (int(d.target[0]), int(d.target[1])))
        for e in examples
        for d in e.drags
    ]
    torch.testing.assert_close(same, torch.tensor(lengths, dtype=torch.float64))
    assert truths.max() < 4


def test_it_is_found_as_well_in_images_that_end_within_a_cell() -> None:
    """Cells are of four pixels, or of eight where the features are."""
    data = ShapesDrags(n=12)
    metric = build("metrics", "drag_distance", {"path": "embedded:shapes", "ensemble": 1})
    metric.load("cpu")
    inside = [
        replace(e, image=e.image[:57, :61], truth=e.truth[:57, :61])
        for e in map(data.load, data.ids())
        if e.truth is not None and all(max(*d.source, *d.target) < 56 for d in e.drags)
    ]
    assert len(inside) > 6
    assert metric.measure(batch(*(e.truth for e in inside)), inside)[:, 0].max() < 3
