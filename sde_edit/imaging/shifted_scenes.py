"""Scenes outside the distribution that the embedded model was trained on: new in one way each.

A shifted scene is the scene of its index with one change, so a scene and its shifts are pairs;
three things have to be drawn anew. Lengths are pixels.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, get_args

from sde_edit.imaging.shapes_world import (
    CALLED,
    COLOURS,
    IMAGE_SIZE,
    NEW_COLOURS,
    NEW_SHAPES,
    SHAPES,
    Scene,
    Thing,
    make_scene,
)

SHIFTS_VERSION = 1
Shift = Literal["none", "things", "shape", "colour", "background"]
SHIFTS: tuple[Shift, ...] = get_args(Shift)

# What is new, in the words of messages.
NEW: dict[Shift, str] = {
    "none": "",
    "things": "three things",
    "shape": "a new shape",
    "colour": "a new colour",
    "background": "a textured background",
}
_RADII = 9.0, 10.5  # of three things; those of two are 9 to 14
_REACH = 1.15  # distance of the outermost point of any shape, in radii (a star)
_DISTANCES = 8.0, 24.0  # of drags
_TRIES = 100


def shifted_scene(index: int, shift: Shift) -> Scene:
    """The scene of an index, for `make_scene`, with one change.

    things: three instead of one or two, as large as the smaller ones of two, and not touching.
    shape, colour: all things have shapes or colours of NEW_SHAPES or NEW_COLOURS. background: it
    has stripes.
    """
    return _shifted(make_scene(index), shift, random.Random(f"shapes-ood-{shift}-{index}"))


def shifted_drag(index: int, shift: Shift) -> tuple[Scene, Scene]:
    """A shifted scene before and after one thing has moved.

    It moves by 8 to 24 pixels, a whole number along each axis. Things do not touch before or after.
    Where the scene of the index leaves no room for that, it is drawn again with one thing, or again
    with three. Shifts of shape, colour and background leave the places and the drag of `none` as
    they are.
    """
    rng = random.Random(f"shapes-ood-drag-{index}")
    three = shift == "things"
    scene = _with_three(make_scene(index), rng) if three else make_scene(index)
    while (found := _drag(scene, rng)) is None:
        scene = _with_three(scene, rng) if three else make_scene(index, things_in_it=1)
    i, thing = found
    look = random.Random(f"shapes-ood-{shift}-{index}")
    before = scene if three else _shifted(scene, shift, look)
    return before, before.with_thing(i, x=thing.x, y=thing.y)


def _shifted(scene: Scene, shift: Shift, rng: random.Random) -> Scene:
    if shift == "things":
        return _with_three(scene, rng)
    if shift == "background":
        return replace(scene, stripes=_uniform(rng, -math.pi, math.pi))
    for i in range(len(scene.things)):
        if shift == "shape":
            scene = scene.with_thing(i, shape=_pick(rng, NEW_SHAPES))
        if shift == "colour":
            taken = {scene.background, *(CALLED.get(t.colour, t.colour) for t in scene.things)}
            free = [colour for colour in NEW_COLOURS if CALLED[colour] not in taken]
            scene = scene.with_thing(i, colour=_pick(rng, free))
    return scene


# ------------------------------------------------------------------ three things
def _with_three(scene: Scene, rng: random.Random) -> Scene:
    """The background and light of a scene with three things that do not touch."""
    things: list[Thing] = []
    tries = 0
    while len(things) < 3:
        tries += 1
        if tries % _TRIES == 0:
            things = []  # the first ones may have left no room
        thing = _thing(rng, {scene.background, *(thing.colour for thing in things)})
        if _apart([*things, thing]):
            things.append(thing)
    return replace(scene, things=tuple(things))


def _thing(rng: random.Random, taken: set[str]) -> Thing:
    radius = _uniform(rng, *_RADII)
    return Thing(
        shape=_pick(rng, SHAPES),
        colour=_pick(rng, [colour for colour in COLOURS if colour not in taken]),
        x=_uniform(rng, radius + 1, IMAGE_SIZE - radius - 1),
        y=_uniform(rng, radius + 1, IMAGE_SIZE - radius - 1),
        radius=radius,
        angle=_uniform(rng, -math.pi, math.pi),
    )


# ------------------------------------------------------------------ drags
def _drag(scene: Scene, rng: random.Random) -> tuple[int, Thing] | None:
    """The number of a thing, and the thing at another place; None if no attempt found room."""
    for _ in range(_TRIES if _apart(scene.things) else 0):
        i = int(rng.random() * len(scene.things))
        distance, angle = _uniform(rng, *_DISTANCES), _uniform(rng, -math.pi, math.pi)
        dx, dy = round(distance * math.cos(angle)), round(distance * math.sin(angle))
        old = scene.things[i]
        moved = replace(old, x=old.x + dx, y=old.y + dy)
        others = [thing for j, thing in enumerate(scene.things) if j != i]
        low, high = _DISTANCES
        if low <= math.hypot(dx, dy) <= high and _inside(moved) and _apart([*others, moved]):
            return i, moved
    return None


def _inside(thing: Thing) -> bool:
    """Whether the thing keeps the margin that `make_scene` keeps."""
    margin = thing.radius + 1
    return all(margin <= place <= IMAGE_SIZE - margin for place in (thing.x, thing.y))


def _apart(things: Iterable[Thing]) -> bool:
    """Whether no two things can touch."""
    things = list(things)
    return all(
        math.hypot(a.x - b.x, a.y - b.y) > _REACH * (a.radius + b.radius) + 1
        for i, a in enumerate(things)
        for b in things[:i]
    )


def _uniform(rng: random.Random, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def _pick(rng: random.Random, options: Iterable[str]) -> str:
    listed = list(options)
    return listed[int(rng.random() * len(listed))]
