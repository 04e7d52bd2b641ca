"""Classes of the embedded world: one thing, another shape, and nothing else of it changes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sde_edit.datasets.shapes_classes import ShapesClasses
from sde_edit.errors import UserError
from sde_edit.imaging.shapes_world import SHAPES, SPLITS, Scene, make_scene
from sde_edit.registry import build

N = 120


def with_shape(scene: Scene, shape: str) -> Scene:
    (thing,) = scene.things
    return replace(scene, things=(replace(thing, shape=shape),))


# ------------------------------------------------------------------ scenes of one thing


def test_a_scene_that_has_one_thing_is_that_scene() -> None:
    for scene, alone in ((make_scene(i), make_scene(i, things_in_it=1)) for i in range(N)):
        assert len(alone.things) == 1
        assert alone == scene or len(scene.things) == 2
        assert (alone.background, alone.light) == (scene.background, scene.light)


@pytest.mark.parametrize("things", [1, 2])
def test_scenes_of_so_many_things_are_spread_as_in_the_world(things: Any) -> None:
    """Those made anew have the sizes, colours and places of those that are drawn so."""
    scenes = [(make_scene(i), make_scene(i, things_in_it=things)) for i in range(2000)]
    native = [a.things[0] for a, b in scenes if a == b]
    anew = [b.things[0] for a, b in scenes if a != b]
    assert min(len(native), len(anew)) > 900
    low, high = (10, 18) if things == 1 else (9, 14)
    assert all(low <= thing.radius <= high for thing in anew)
    for name in ("radius", "x", "y", "angle"):
        a, b = (np.array([getattr(t, name) for t in some]) for some in (native, anew))
        error = np.hypot(a.std() / len(a) ** 0.5, b.std() / len(b) ** 0.5)
        assert abs(a.mean() - b.mean()) < 4 * error


# ------------------------------------------------------------------ examples


@pytest.mark.parametrize("split", SPLITS)
def test_only_the_shape_differs(split: Any) -> None:
    data = ShapesClasses(split=split, n=N)
    for i, example_id in enumerate(data.ids()):
        before, after = data.scenes(example_id)
        alone = make_scene(SPLITS[split][i], things_in_it=1)
        assert (before, after) == (with_shape(alone, "circle"), with_shape(alone, "square"))


def test_an_example_is_its_scenes() -> None:
    data = ShapesClasses(n=N)
    for example_id in data.ids():
        example, (before, after) = data.load(example_id), data.scenes(example_id)
        np.testing.assert_array_equal(example.image, before.render())
        np.testing.assert_array_equal(example.truth, after.render())
        np.testing.assert_array_equal(example.reference, data.other_scene(example_id).render())
        assert example.mask is not None
        assert example.mask.dtype == np.float32
        differs = (before.render() != after.render()).any(axis=-1)
        np.testing.assert_array_equal(example.mask, differs)


@pytest.mark.parametrize("pair", list(itertools.permutations(SHAPES, 2)), ids="-".join)
def test_every_pair_has_its_words_and_can_be_seen(pair: tuple[str, str]) -> None:
    data = ShapesClasses(n=20, pair="-".join(pair))
    for example_id in data.ids():
        example = data.load(example_id)
        assert (example.caption, example.target) == tuple(f"a {shape}" for shape in pair)
        assert example.mask is not None
        assert example.mask.sum() >= 12
        assert [t.shape for t in data.other_scene(example_id).things] == [pair[1]]


def test_references_are_scenes_of_their_own() -> None:
    data = ShapesClasses(n=N)
    others = [data.other_scene(example_id) for example_id in data.ids()]
    truths = [data.scenes(example_id)[1] for example_id in data.ids()]
    assert len({*others, *truths}) == 2 * N
    alike = [a.things[0].colour == b.things[0].colour for a, b in zip(others, truths, strict=True)]
    assert 0.02 < np.mean(alike) < 0.3  # one of eight
    x = [[scene.things[0].x for scene in scenes] for scenes in (others, truths)]
    assert abs(np.corrcoef(x)[0, 1]) < 4 / N**0.5


def test_references_of_a_whole_split_are_in_it() -> None:
    """And no two examples share one: the last half has those of the first."""
    length = len(SPLITS["test"])
    data = ShapesClasses(n=length)
    ids = data.ids()
    for i, far in ((0, length // 2), (length // 2, 0), (length - 1, length // 2 - 1)):
        assert data.other_scene(ids[i]) == data.scenes(ids[far])[1]


def test_an_example_depends_on_its_id_alone() -> None:
    few, many = ShapesClasses(n=3), ShapesClasses(n=50_000)
    assert few.digest() == many.digest()
    for example_id in few.ids():
        assert few.scenes(example_id) == many.scenes(example_id)
        assert few.other_scene(example_id) == many.other_scene(example_id)


def test_golden_examples() -> None:
    """Examples move only with a raised version, for published numbers rest on them."""
    data = ShapesClasses(n=3)
    found = [
        (data.scenes(example_id)[0].caption(), data.other_scene(example_id).caption())
        for example_id in data.ids()
    ]
    assert found == GOLDEN


GOLDEN = [
    ("a red circle on blue background", "a blue square on yellow background"),
    ("a cyan circle on black background", "a green square on grey background"),
    ("a pink circle on grey background", "a green square on black background"),
]


def test_splits_and_pairs_have_their_own_digest() -> None:
    pairs = ("circle-square", "square-circle", "star-ring")
    kinds = [ShapesClasses(split=split, pair=pair) for split in SPLITS for pair in pairs]
    assert len({data.digest() for data in kinds}) == len(kinds)


@pytest.mark.parametrize(("settings", "message"), [
    ({"n": 0}, "data.n=0"),
    ({"pair": "circle-sqare"}, "no shape 'sqare'. Did you mean 'square'?"),
    ({"pair": "circle"}, "must be two shapes, SOURCE-TARGET"),
    ({"pair": "circle-star-ring"}, "must be two shapes, SOURCE-TARGET"),
    ({"pair": "star-star"}, "must be two shapes, SOURCE-TARGET"),
    ({"masks": "small"}, "masks"),
])  # fmt: skip
def test_refuses_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build("datasets", "shapes_classes", settings)
    assert message in str(caught.value)


@pytest.mark.parametrize("example_id", ["test-000005", "val-000000", "0", "../x"])
def test_refuses_other_ids(example_id: str) -> None:
    with pytest.raises(UserError, match="ids are test-000000 to test-000004"):
        ShapesClasses(n=5).load(example_id)


def test_status() -> None:
    status = ShapesClasses(n=7).status()
    assert (status.found, list(status.problems)) == (7, [])
