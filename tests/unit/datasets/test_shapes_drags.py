"""Drags of the embedded world."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sde_edit.datasets.shapes_drags import DISTANCES, ShapesDrags
from sde_edit.imaging.shapes_world import SPLITS, Scene

N = 60


def moved(before: Scene, after: Scene) -> int:
    (i,) = [i for i, (a, b) in enumerate(zip(before.things, after.things, strict=True)) if a != b]
    return i


@pytest.mark.parametrize("split", SPLITS)
def test_one_thing_is_to_move_and_touches_nothing(split: Any) -> None:
    data = ShapesDrags(split=split, n=N)
    for example_id in data.ids():
        before, after = data.scenes(example_id)
        i = moved(before, after)
        old, new = before.things[i], after.things[i]
        assert before.with_thing(i, x=new.x, y=new.y) == after
        assert DISTANCES[0] <= math.hypot(new.x - old.x, new.y - old.y) <= DISTANCES[1]
        assert new.radius < min(new.x, new.y, 64 - new.x, 64 - new.y)
        assert (before.coverage() > 0).sum(0).max() == (after.coverage() > 0).sum(0).max() == 1


def test_an_example_is_the_scene_and_the_truth() -> None:
    data = ShapesDrags(n=N)
    for example_id in data.ids()[:12]:
        example, (before, after) = data.load(example_id), data.scenes(example_id)
        thing = before.things[moved(before, after)]
        (drag,) = example.drags
        assert drag.source == (thing.x, thing.y)
        assert example.caption == before.caption() == after.caption()
        assert example.mask is None
        dx, dy = (round(b - a) for a, b in zip(drag.source, drag.target, strict=True))
        inner = before.coverage()[moved(before, after)] == 1
        y, x = np.nonzero(inner)
        apart = example.truth[y + dy, x + dx].astype(int) - example.image[y, x]
        assert abs(apart).max() <= 1  # rounding


def test_two_things_and_all_distances_occur() -> None:
    scenes = [ShapesDrags(n=200).scenes(f"test-{i:06d}") for i in range(200)]
    assert 0.1 < np.mean([len(before.things) == 2 for before, _ in scenes]) < 0.35
    ends = [(a.things[moved(a, b)], b.things[moved(a, b)]) for a, b in scenes]
    found = [math.hypot(b.x - a.x, b.y - a.y) for a, b in ends]
    assert np.histogram(found, bins=4, range=DISTANCES)[0].min() > 15


def test_an_example_depends_on_its_id_alone() -> None:
    few, many = ShapesDrags(n=3), ShapesDrags(n=50_000)
    assert few.digest() == many.digest() != ShapesDrags(n=3, mask="changed").digest()
    assert all(few.scenes(i) == many.scenes(i) for i in few.ids())


def test_golden_drags() -> None:
    """Examples move only with a raised version, for published numbers rest on them."""
    data = ShapesDrags(n=3)
    found = []
    for example in map(data.load, data.ids()):
        (drag,) = example.drags
        step = tuple(round(b - a) for a, b in zip(drag.source, drag.target, strict=True))
        found.append((example.caption, step))
    assert found == GOLDEN


GOLDEN = [
    ("a red square and an orange ring on blue background", (6, -14)),
    ("a cyan square on black background", (6, -6)),
    ("a pink circle on grey background", (9, 3)),
]


def test_the_mask_holds_what_changes_and_more() -> None:
    example = ShapesDrags(n=1, mask="changed").load("test-000000")
    assert example.mask is not None
    differs = (example.image != example.truth).any(-1)
    assert (example.mask[differs] == 1).all()
    y, x = np.nonzero(differs)
    ys, xs = np.nonzero(example.mask)
    assert (ys.min(), xs.min()) == (max(0, y.min() - 4), max(0, x.min() - 4))
    assert (example.mask == 0).any()
