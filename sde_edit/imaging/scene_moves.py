"""Moves of things of the embedded world: within the image, by whole pixels, never touching.

Lengths are pixels.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from sde_edit.imaging.shapes_world import IMAGE_SIZE, Scene, Thing

DISTANCES = 8.0, 24.0  # of moves
TRIES = 100
_REACH = 1.15  # distance of the outermost point of any shape, in radii (a star)


def moved(
    scene: Scene, rng: random.Random, movable: Sequence[int], *, first_angle: float
) -> tuple[Scene, int] | None:
    """The scene with one of these things elsewhere, and which; None if no attempt found room.

    first_angle: where the range of the directions drawn starts, which goes once around.
    """
    low, high = DISTANCES
    for _ in range(TRIES):
        i = movable[int(rng.random() * len(movable))]
        distance = low + (high - low) * rng.random()
        angle = first_angle + 2 * math.pi * rng.random()
        dx, dy = round(distance * math.cos(angle)), round(distance * math.sin(angle))
        thing = scene.things[i]
        after = scene.with_thing(i, x=thing.x + dx, y=thing.y + dy)
        if low <= math.hypot(dx, dy) <= high and _in_image(after.things[i]) and apart(after.things):
            return after, i
    return None


def apart(things: Sequence[Thing]) -> bool:
    """Whether no two things can touch."""
    return all(
        math.hypot(a.x - b.x, a.y - b.y) > _REACH * (a.radius + b.radius) + 1
        for i, a in enumerate(things)
        for b in things[:i]
    )


def _in_image(thing: Thing) -> bool:
    """Whether the thing keeps the margin that `make_scene` keeps."""
    margin = thing.radius + 1
    return all(margin <= place <= IMAGE_SIZE - margin for place in (thing.x, thing.y))
