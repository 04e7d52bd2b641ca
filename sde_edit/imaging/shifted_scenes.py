"""Scenes outside the distribution that the embedded model was trained on: new in one way each.

A shifted scene is the scene of its index with one change, so a scene and its shifts are pairs;
three things have to be drawn anew. Lengths are pixels.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Literal, get_args

from sde_edit.imaging.scene_moves import TRIES, apart, moved
from sde_edit.imaging.shapes_world import (
    CALLED,
    NEW_COLOURS,
    NEW_SHAPES,
    Scene,
    Thing,
    draw_thing,
    make_scene,
    pick,
    uniform,
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
    while (found := _moved(scene, rng)) is None:
        scene = _with_three(scene, rng) if three else make_scene(index, things_in_it=1)
    after, i = found
    thing = after.things[i]
    look = random.Random(f"shapes-ood-{shift}-{index}")
    before = scene if three else _shifted(scene, shift, look)
    return before, before.with_thing(i, x=thing.x, y=thing.y)


def _moved(scene: Scene, rng: random.Random) -> tuple[Scene, int] | None:
    """The scene with one thing elsewhere, and which; None if things touch or none finds room."""
    if not apart(scene.things):
        return None
    return moved(scene, rng, range(len(scene.things)), first_angle=-math.pi)


def _shifted(scene: Scene, shift: Shift, rng: random.Random) -> Scene:
    if shift == "things":
        return _with_three(scene, rng)
    if shift == "background":
        return replace(scene, stripes=uniform(rng, -math.pi, math.pi))
    for i in range(len(scene.things)):
        if shift == "shape":
            scene = scene.with_thing(i, shape=pick(rng, NEW_SHAPES))
        if shift == "colour":
            taken = {scene.background, *(CALLED.get(t.colour, t.colour) for t in scene.things)}
            free = [colour for colour in NEW_COLOURS if CALLED[colour] not in taken]
            scene = scene.with_thing(i, colour=pick(rng, free))
    return scene


# ------------------------------------------------------------------ three things
def _with_three(scene: Scene, rng: random.Random) -> Scene:
    """The background and light of a scene with three things that do not touch."""
    things: list[Thing] = []
    tries = 0
    while len(things) < 3:
        tries += 1
        if tries % TRIES == 0:
            things = []  # the first ones may have left no room
        thing = draw_thing(rng, _RADII, {scene.background, *(thing.colour for thing in things)})
        if apart([*things, thing]):
            things.append(thing)
    return replace(scene, things=tuple(things))
