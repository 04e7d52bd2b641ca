"""Drags of the embedded world."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sde_edit.datasets.shapes_drags import ShapesDrags
from sde_edit.errors import UserError
from sde_edit.imaging.scene_moves import DISTANCES
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


# ------------------------------------------------------------------ several pairs of points

IDS = [f"test-{i:06d}" for i in range(12)]


def apart(scene: Scene) -> bool:
    return bool((scene.coverage() > 0).sum(0).max() == 1)


@pytest.mark.parametrize("things", [2, 3, 4])
def test_each_pair_drags_another_thing_and_none_touch_on_the_way(things: int) -> None:
    data = ShapesDrags(things=things, pairs_of_points=things)
    for example_id in IDS:
        before, after = data.scenes(example_id)
        assert len(before.things) == things
        assert len({thing.colour for thing in before.things} | {before.background}) == things + 1
        scene, dragged = before, set()
        for drag in data.load(example_id).drags:
            centres = [(thing.x, thing.y) for thing in before.things]
            i = centres.index(drag.source)
            scene = scene.with_thing(i, x=drag.target[0], y=drag.target[1])
            assert apart(scene)
            assert DISTANCES[0] <= math.dist(drag.source, drag.target) <= DISTANCES[1]
            dragged.add(i)
        assert scene == after
        assert len(dragged) == things


@pytest.mark.parametrize("things", [1, 3, 4])
def test_a_scene_with_more_pairs_is_the_one_with_fewer(things: int) -> None:
    data = [ShapesDrags(things=things, pairs_of_points=pairs) for pairs in (1, 2, 3, 4)]
    for example_id in IDS[:4]:
        examples = [each.load(example_id) for each in data]
        for pairs, example in enumerate(examples, 1):
            assert np.array_equal(example.image, examples[0].image)
            assert example.drags == examples[-1].drags[:pairs]
            before, after = data[pairs - 1].scenes(example_id)
            moved = [a != b for a, b in zip(before.things, after.things, strict=True)]
            assert sum(moved) == min(pairs, things)
            assert example.truth is not None
            assert np.array_equal(example.truth, after.render())


@pytest.mark.parametrize("things", [None, 1])
def test_several_pairs_on_one_thing_are_its_pixels_and_move_alike(things: int | None) -> None:
    data, one = ShapesDrags(things=things, pairs_of_points=4), ShapesDrags(things=things)
    for example_id in IDS:
        before, after = data.scenes(example_id)
        assert (before, after) == one.scenes(example_id)
        i = moved(before, after)
        centre, *others = data.load(example_id).drags
        assert (centre,) == one.load(example_id).drags
        shift = np.subtract(centre.target, centre.source)
        solid = before.coverage()[i] == 1
        for drag in others:
            assert np.allclose(np.subtract(drag.target, drag.source), shift, rtol=0, atol=1e-12)
            assert solid[int(drag.source[1]), int(drag.source[0])]
        points = [centre.source, *(drag.source for drag in others)]
        nearest = min(math.dist(a, b) for k, a in enumerate(points) for b in points[:k])
        assert nearest > 0.5 * before.things[i].radius
        farthest = np.hypot(*(np.argwhere(solid)[:, ::-1] + 0.5 - centre.source).T).max()
        assert math.dist(points[0], points[1]) == farthest


def test_captions_of_many_things_fit_the_embedded_text_encoder() -> None:
    """14 words, of one token each, beside start and end."""
    captions = [ShapesDrags(things=n).load(i).caption for n in (1, 2, 3, 4) for i in IDS]
    assert max(len(caption.split()) for caption in captions) == 14
    assert all(caption.endswith(" background") for caption in captions)


def test_the_new_settings_leave_what_was_there() -> None:
    plain, named = ShapesDrags(), ShapesDrags(things=None, pairs_of_points=1)
    assert plain.digest() == named.digest() == GOLDEN_DIGEST
    others = [ShapesDrags(things=n, pairs_of_points=k) for n in (None, 1, 4) for k in (1, 2)][1:]
    assert len({data.digest() for data in (plain, *others)}) == 6
    (drag,) = ShapesDrags(things=4).load("test-000000").drags
    assert drag.source == pytest.approx((19.8541317109786, 40.03249500706365), abs=1e-9)


GOLDEN_DIGEST = "45bd6e3d82ccbd30627a60a4c824da67ddbf4204c5936f6d6a9d035de9a5969d"


@pytest.mark.parametrize("setting", ["things", "pairs_of_points"])
@pytest.mark.parametrize("value", [0, 5])
def test_numbers_out_of_range_are_refused(setting: str, value: int) -> None:
    with pytest.raises(UserError, match=rf"data\.{setting}={value}: must be from 1 to 4"):
        ShapesDrags(**{setting: value})


def test_the_mask_holds_all_that_moves() -> None:
    example = ShapesDrags(mask="changed", things=4, pairs_of_points=4).load("test-000000")
    assert example.mask is not None
    assert example.truth is not None
    assert (example.mask[(example.image != example.truth).any(-1)] == 1).all()
    for drag in example.drags:
        assert example.mask[int(drag.target[1]), int(drag.target[0])] == 1


def test_the_mask_holds_what_changes_and_more() -> None:
    example = ShapesDrags(n=1, mask="changed").load("test-000000")
    assert example.mask is not None
    differs = (example.image != example.truth).any(-1)
    assert (example.mask[differs] == 1).all()
    y, x = np.nonzero(differs)
    ys, xs = np.nonzero(example.mask)
    assert (ys.min(), xs.min()) == (max(0, y.min() - 4), max(0, x.min() - 4))
    assert (example.mask == 0).any()
