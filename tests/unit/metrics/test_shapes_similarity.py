"""The similarity to the source by the embedded recogniser."""

from __future__ import annotations

import torch

from sde_edit.datasets.shapes_drags import ShapesDrags
from sde_edit.registry import build
from tests.unit.metrics.inputs import batch


def test_similarity_to_the_source_is_one_where_nothing_was_edited() -> None:
    data = ShapesDrags(n=2)
    examples = [data.load(i) for i in data.ids()]
    metric = build("metrics", "shapes_similarity", {})
    metric.load("cpu")
    same = metric.measure(batch(*(e.image for e in examples)), examples)
    other = metric.measure(batch(*(e.image for e in examples[::-1])), examples)
    torch.testing.assert_close(same, torch.ones_like(same), rtol=1e-5, atol=1e-5)
    assert (other < 0.9).all()
