"""Scenes outside the distribution: one thing is new, and the rest is as it was."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest

from sde_edit.imaging.shapes_world import (
    BACKGROUNDS,
    CALLED,
    COLOURS,
    NEW_COLOURS,
    NEW_SHAPES,
    SHAPES,
    SPLITS,
    Scene,
    make_scene,
)
from sde_edit.imaging.shifted_scenes import NEW, SHIFTS, Shift, shifted_drag, shifted_scene

TEST = SPLITS["test"][:40]
KEPT = ("x", "y", "radius", "angle")


def test_without_a_shift_it_is_the_scene() -> None:
    assert [shifted_scene(i, "none") for i in TEST] == [make_scene(i) for i in TEST]


@pytest.mark.parametrize("shift", ["shape", "colour", "background"])
def test_a_shift_leaves_the_rest_as_it_was(shift: Shift) -> None:
    for index in TEST:
        old, new = make_scene(index), shifted_scene(index, shift)
        assert (new.background, new.light, new.contrast) == (
            old.background,
            old.light,
            old.contrast,
        )
        for a, b in zip(old.things, new.things, strict=True):
            assert all(getattr(a, name) == getattr(b, name) for name in KEPT)
            assert (b.shape in NEW_SHAPES) == (shift == "shape") != (a.shape == b.shape)
            assert (b.colour in NEW_COLOURS) == (shift == "colour") != (a.colour == b.colour)
        assert (new.stripes is not None) == (shift == "background")


def test_three_things_are_as_large_as_small_ones_and_do_not_touch() -> None:
    for index in TEST:
        scene = shifted_scene(index, "things")
        assert len({thing.colour for thing in scene.things} | {scene.background}) == 4
        assert all(9 <= thing.radius <= 10.5 for thing in scene.things)
        assert ((scene.coverage() > 0).sum(0) <= 1).all()


@pytest.mark.parametrize("shift", SHIFTS)
def test_captions_have_only_known_words(shift: Shift) -> None:
    known = {*SHAPES, *COLOURS, *BACKGROUNDS, "a", "an", "and", "on", "background"}
    for index in TEST:
        scene = shifted_scene(index, shift)
        words = scene.caption().split()
        assert {*words} <= known
        assert len(words) <= 14  # with start and end, what the text encoder reads
        named = [word for word in words[: words.index("on")] if word in COLOURS]
        assert len({*named, scene.background}) == len(scene.things) + 1


@pytest.mark.parametrize("colour", NEW_COLOURS)
def test_a_new_colour_is_called_by_the_nearest_and_is_no_shade_of_it(colour: str) -> None:
    new = NEW_COLOURS[colour]
    distances = {name: math.dist(new, rgb) for name, rgb in COLOURS.items()}
    assert min(distances, key=lambda name: distances[name]) == CALLED[colour]
    shades = np.linspace(0.78, 1.22, 45)[:, None, None] * np.array([*COLOURS.values()])
    assert np.abs(shades.clip(0, 255) - new).max(-1).min() > 40


def test_stripes_change_the_background_alone() -> None:
    plain, striped = make_scene(TEST[2]), shifted_scene(TEST[2], "background")
    behind = plain.coverage().sum(0) == 0
    factor = striped.render()[behind].mean(-1) / plain.render()[behind].mean(-1)
    assert (factor.min(), factor.max()) == pytest.approx((0.75, 1.25), abs=0.02)
    inside = (plain.coverage() == 1).any(0)
    assert (plain.render() == striped.render())[inside].all()


@pytest.mark.parametrize("shape", NEW_SHAPES)
def test_a_new_shape_turns_with_its_angle_and_is_about_as_large(shape: str) -> None:
    scene = replace(make_scene(3, things_in_it=1), stripes=None)
    scene = scene.with_thing(0, shape=shape, x=32.0, y=32.0, angle=0.0)
    still = scene.coverage(128)[0]
    turned = scene.with_thing(0, angle=math.pi / 2).coverage(128)[0]
    assert np.abs(np.rot90(still, -1) - turned).mean() < 0.002
    disc = scene.with_thing(0, shape="circle").coverage(128)[0]
    assert 0.3 < still.sum() / disc.sum() < 1
    assert _reach(scene) < 1.15 * scene.things[0].radius


def _reach(scene: Scene) -> float:
    y, x = np.nonzero(scene.coverage()[0] > 0.5)
    return float(np.hypot(x + 0.5 - 32, y + 0.5 - 32).max())


@pytest.mark.parametrize("shift", SHIFTS)
def test_one_thing_moves_and_touches_nothing(shift: Shift) -> None:
    for index in TEST:
        before, after = shifted_drag(index, shift)
        (i,) = [
            i for i, (a, b) in enumerate(zip(before.things, after.things, strict=True)) if a != b
        ]
        old, new = before.things[i], after.things[i]
        assert before.with_thing(i, x=new.x, y=new.y) == after
        assert 8 <= math.hypot(new.x - old.x, new.y - old.y) <= 24
        moves = np.array([new.x - old.x, new.y - old.y])
        assert np.abs(moves - moves.round()).max() < 1e-9
        assert new.radius < min(new.x, new.y, 64 - new.x, 64 - new.y)
        assert (before.coverage() > 0).sum(0).max() == (after.coverage() > 0).sum(0).max() == 1
        assert (len(before.things) == 3) == (shift == "things")


def test_shifts_of_looks_leave_the_drag_as_it_is() -> None:
    for index in TEST:
        plain = shifted_drag(index, "none")
        for shift in ("shape", "colour", "background"):
            for a, b in zip(plain, shifted_drag(index, shift), strict=True):  # type: ignore[arg-type]
                places = [[(t.x, t.y, t.radius) for t in scene.things] for scene in (a, b)]
                assert places[0] == places[1]


def test_golden_shifted_scenes() -> None:
    """Scenes move only with a raised version, for published numbers rest on them."""
    found = {shift: _sha(shifted_scene(TEST[0], shift)) for shift in SHIFTS}
    moved = {shift: _sha(shifted_drag(TEST[0], shift)[1]) for shift in SHIFTS}
    assert found == GOLDEN_SCENES
    assert moved == GOLDEN_DRAGS


def _sha(scene: Scene) -> str:
    return hashlib.sha256(scene.render().tobytes()).hexdigest()[:12]


def test_messages_have_words_for_every_shift() -> None:
    assert {*NEW} == {*SHIFTS}
    assert [shift for shift in SHIFTS if not NEW[shift]] == ["none"]


GOLDEN_SCENES: dict[str, str] = {
    "none": "4f6541fdab7f",
    "things": "65201f20daab",
    "shape": "7c019dd1431e",
    "colour": "c64dbbafe8c2",
    "background": "63e81891b0ed",
}
GOLDEN_DRAGS: dict[str, str] = {
    "none": "15c93c527d3e",
    "things": "0054c46042bb",
    "shape": "7b1525ec5a9e",
    "colour": "66d2aa116262",
    "background": "fe84d12d046c",
}
