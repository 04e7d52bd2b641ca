"""The procedural world: determinism, splits, captions, object masks, truths of edits, sizes."""

from __future__ import annotations

import hashlib
import itertools
import math
import random

import numpy as np
import pytest

from sde_edit.datasets.shapes import Shapes
from sde_edit.imaging.shapes_world import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    SPLITS,
    Scene,
    Thing,
    make_scene,
    scene_of,
)

SCENES = [make_scene(i) for i in range(200)]
PAIRS = [scene for scene in SCENES if len(scene.things) == 2]


def thing(**changes: object) -> Thing:
    settings = {"shape": "square", "colour": "red", "x": 32.0, "y": 32.0, "radius": 14.0}
    return Thing(**{**settings, "angle": 0.0, **changes})  # type: ignore[arg-type]


def sha(scene: Scene) -> str:
    return hashlib.sha256(scene.render().tobytes()).hexdigest()[:12]


def test_golden_scenes() -> None:
    scenes = [make_scene(i) for i in (0, 1, 2, 1_000_000, 1_100_000)]
    assert [scene.caption() for scene in scenes] == [
        "a purple star and a yellow ring on white background",
        "a pink triangle on blue background",
        "a purple star and a red ring on grey background",
        "a blue circle on black background",
        "a red square and an orange ring on blue background",
    ]
    assert [sha(scene) for scene in scenes] == [
        "05831a769916",
        "48f67a14da41",
        "8c994c4bdcb7",
        "3b3ba1149b6e",
        "4f6541fdab7f",
    ]


def test_scenes_do_not_touch_the_global_generator() -> None:
    before = random.getstate()
    make_scene(5).render()
    assert random.getstate() == before


def test_splits_never_overlap() -> None:
    for a, b in itertools.combinations(SPLITS.values(), 2):
        assert a.stop <= b.start or b.stop <= a.start
    scenes = [scene_of(split, i) for split in SPLITS for i in range(300)]
    assert len(set(scenes)) == 900


def test_an_index_outside_the_split_is_refused() -> None:
    with pytest.raises(IndexError):
        scene_of("val", len(SPLITS["val"]))


def test_the_world_has_all_its_attributes() -> None:
    things = [thing for scene in SCENES for thing in scene.things]
    assert {t.shape for t in things} == set(SHAPES)
    assert {t.colour for t in things} == set(COLOURS)
    assert {scene.background for scene in SCENES} == set(BACKGROUNDS)
    assert 0.35 < len(PAIRS) / len(SCENES) < 0.65


def test_captions_name_the_things_in_order() -> None:
    for scene in SCENES:
        words = scene.caption().split()
        assert [w for w in words if w in SHAPES] == [t.shape for t in scene.things]
        colours = [t.colour for t in scene.things]
        assert [w for w in words[: words.index("on")] if w in COLOURS] == colours
        assert scene.caption().endswith(f" on {scene.background} background")


def test_partial_captions() -> None:
    scene = Scene((thing(colour="orange"), thing(shape="star")), "blue", 0.0, 0.1)
    assert scene.caption() == "an orange square and a red star on blue background"
    assert scene.caption(colours=False) == "a square and a star on blue background"
    assert scene.caption(colours=False, background=False) == "a square and a star"


def test_a_thing_has_the_colour_that_its_caption_says() -> None:
    for scene in SCENES[:60]:
        image = scene.render().astype(float)
        for item, mask in zip(scene.things, scene.masks(), strict=True):
            mean = image[mask].mean(axis=0)
            nearest = min(COLOURS, key=lambda name: math.dist(COLOURS[name], mean))
            assert nearest == item.colour


def test_things_differ_in_colour_from_each_other_and_the_background() -> None:
    for scene in SCENES:
        names = [scene.background, *(item.colour for item in scene.things)]
        assert len(set(names)) == len(names)


def test_things_lie_inside_the_image_and_stay_visible() -> None:
    for scene in SCENES:
        alone = (scene.coverage() > 0.5).sum(axis=(1, 2))
        visible = scene.masks().sum(axis=(1, 2))
        assert (visible > 0.5 * alone).all()
        assert all(t.radius < t.x < 64 - t.radius for t in scene.things)


def test_masks_are_disjoint_and_bool() -> None:
    for scene in PAIRS:
        masks = scene.masks()
        assert masks.dtype == bool
        assert masks.shape == (2, 64, 64)
        assert not (masks[0] & masks[1]).any()


def test_the_later_thing_is_in_front() -> None:
    behind, front = thing(), thing(colour="blue", shape="circle", x=38.0)
    scene = Scene((behind, front), "white", 0.0, 0.0)
    first, second = scene.masks()
    assert scene.coverage()[0, 32, 38] == 1  # the square would be there
    assert second[32, 38]
    assert not first[32, 38]
    assert scene.render()[32, 38].argmax() == 2
    swapped = Scene((front, behind), "white", 0.0, 0.0)
    assert swapped.render()[32, 38].argmax() == 0


def test_coverage_is_a_share_with_soft_edges() -> None:
    cover = make_scene(3).coverage()
    assert cover.min() == 0
    assert cover.max() == 1
    assert ((cover > 0) & (cover < 1)).any()


def test_recolouring_changes_only_the_thing() -> None:
    for scene in PAIRS[:30]:
        i = 1
        new = next(c for c in COLOURS if c not in {t.colour for t in scene.things})
        edited = scene.with_thing(i, colour=new)
        changed = (scene.render() != edited.render()).any(axis=-1)
        assert changed[scene.masks()[i]].all()
        assert not changed[scene.coverage()[i] == 0].any()
        assert edited.things[0] == scene.things[0]
        np.testing.assert_array_equal(edited.masks(), scene.masks())


def test_moving_a_thing_leaves_the_rest() -> None:
    scene = Scene((thing(x=20.0), thing(colour="blue", x=46.0, radius=9.0)), "grey", 0.5, 0.2)
    moved = scene.with_thing(1, y=46.0)
    touched = (scene.coverage()[1] > 0) | (moved.coverage()[1] > 0)
    assert ((scene.render() != moved.render()).any(axis=-1) <= touched).all()
    assert scene.things[1].y == 32.0  # the original is untouched


def test_changing_the_shape_keeps_place_and_colour() -> None:
    scene = Scene((thing(),), "grey", 0.0, 0.1)
    edited = scene.with_thing(0, shape="star")
    assert edited.caption() == "a red star on grey background"
    assert edited.render()[32, 32].tolist() == scene.render()[32, 32].tolist()


def test_an_unknown_attribute_is_refused() -> None:
    with pytest.raises(TypeError, match="size"):
        make_scene(0).with_thing(0, size=3.0)


@pytest.mark.parametrize("size", [32, 128, 256])
def test_other_sizes_show_the_same_scene(size: int) -> None:
    for scene in SCENES[:5]:
        large = scene.render(size)
        assert large.shape == (size, size, 3)
        assert large.dtype == np.uint8
        assert scene.masks(size).mean() == pytest.approx(scene.masks().mean(), abs=0.01)
        side = min(size, 64)
        difference = _shrunk(large, side) - _shrunk(scene.render(), side)
        assert np.abs(difference).mean() < 3


def _shrunk(image: np.ndarray, side: int) -> np.ndarray:
    step = len(image) // side
    return image.astype(float).reshape(side, step, side, step, 3).mean(axis=(1, 3))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_turns_with_its_angle_about_its_centre(shape: str) -> None:
    still, turned = (
        Scene((thing(shape=shape, angle=angle),), "white", 0.0, 0.0).coverage(128)[0]
        for angle in (0.0, math.pi / 2)
    )
    assert np.abs(np.rot90(still, -1) - turned).mean() < 0.002
    assert still.sum() > 0.05 * 128**2


def test_a_picture_that_is_changed_does_not_change_the_next():
    dataset = Shapes(n=2)
    first = dataset.load("test-000001")
    kept = first.image.copy(), first.mask.copy(), first.truth.copy()
    for array in (first.image, first.mask, first.truth):
        array[:] = 0
    again = dataset.load("test-000001")
    for array, before in zip((again.image, again.mask, again.truth), kept, strict=True):
        assert (array == before).all()
        assert array.flags.writeable
