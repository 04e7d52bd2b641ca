"""Embedded world: scenes in which objects are dragged to other places; the truth is known."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from PIL import Image, ImageFilter

from sde_edit.api.example import Drag, Example, Point
from sde_edit.errors import UserError
from sde_edit.imaging.image_drags import label_counts
from sde_edit.imaging.scene_moves import apart, moved
from sde_edit.imaging.shapes_world import (
    MOST_THINGS,
    WORLD_VERSION,
    FirstScenes,
    Scene,
    draw_things,
    make_scene,
)
from sde_edit.registry import UNLESS_DEFAULT, plugin

if TYPE_CHECKING:
    from sde_edit.api.example import Mask, Pixels

_GROWN = 4  # margin of masks in pixels: one cell of the embedded latents


@plugin
@dataclass(frozen=True)
class ShapesDrags(FirstScenes):
    """The scenes of `shapes`, each with objects to move; the drags depend only on the index.

    mask     none; or changed: where image and truth differ, dilated by 4 pixels so that it does not
             reveal the outline
    things   how many objects a scene has, 1 to 4; null: one or two as in `shapes`, of which one can
             move. Objects of a given number are drawn anew, under the background and the light of
             the scene; they are smaller if there are three or four, which the embedded model was
             not trained on
    pairs_of_points
             1 to 4, dealt out in turn to the objects that can move. The first point on an object is
             its centre; a further one is that of its pixels which is farthest from the points
             before it, and moves by as much. A scene with more pairs is the one with fewer, in
             which more is dragged

    Objects do not touch before or after the drags, nor in between if one object moves after the
    other, in the order of the drags. If null asks for two objects and they leave no room for that,
    the scene is drawn again with one.
    """

    version: ClassVar[int] = 1

    mask: Literal["none", "changed"] = "none"
    things: int | None = field(default=None, metadata={"identity": UNLESS_DEFAULT})
    pairs_of_points: int = field(default=1, metadata={"identity": UNLESS_DEFAULT})

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("things", "pairs_of_points"):
            if (value := getattr(self, key)) is not None and not 1 <= value <= MOST_THINGS:
                raise UserError(f"data.{key}={value}: must be from 1 to {MOST_THINGS}")

    def load(self, example_id: str) -> Example:
        """image, truth: uint8 [64, 64, 3]; mask: float32 [64, 64], 1 = may change, or None.

        drags: pairs_of_points. A thing moves by a whole number of pixels along each axis, so its
        inner pixels are the same in image and truth.
        """
        before, after = self.scenes(example_id)
        image, truth = before.render(), after.render()
        return Example(
            id=example_id,
            image=image,
            # Four coloured things and the background are more words than the model reads.
            caption=before.caption(colours=len(before.things) < 4),
            mask=_grown(image, truth) if self.mask == "changed" else None,
            truth=truth,
            drags=self._drags(self._path(example_id)),
        )

    def scenes(self, example_id: str) -> tuple[Scene, Scene]:
        """The scene and its truth. Raises UserError for an unknown id."""
        path = self._path(example_id)
        return path[0], path[-1]

    def _path(self, example_id: str) -> list[Scene]:
        """The scene, and the scene after each object that moves."""
        index = self.index(example_id)
        rng, scene = random.Random(f"shapes-drags-{index}"), make_scene(index)
        if self.things is None:
            path = _moves(scene, rng, 1)
            while path is None:  # a single object always finds room, so this ends
                path = _moves(make_scene(index, things_in_it=1), rng, 1)
            return path
        path = None
        while path is None:
            things = draw_things(rng, self.things, scene.background)
            path = _moves(replace(scene, things=things), rng, self.things)
        return path[: 1 + self.pairs_of_points]

    def _drags(self, path: Sequence[Scene]) -> tuple[Drag, ...]:
        moves = [_difference(*both) for both in itertools.pairwise(path)]
        points = [_points(path[0], i, self.pairs_of_points) for i, _ in moves]
        rounds = [
            Drag((x, y), (x + dx, y + dy))
            for each in zip(*points, strict=True)
            for (x, y), (_, (dx, dy)) in zip(each, moves, strict=True)
        ]
        return tuple(rounds[: self.pairs_of_points])

    def statistics(self) -> Mapping[str, Mapping[str, int]]:
        """Counts of the images before the drag and of the dragged objects."""
        scenes = [self.scenes(example_id) for example_id in self.ids()]
        pairs = ((a, b) for x, y in scenes for a, b in zip(x.things, y.things, strict=True))
        dragged = [before for before, after in pairs if before != after]
        return {
            "things in the image": label_counts(str(len(before.things)) for before, _ in scenes),
            "shape that is dragged": label_counts(thing.shape for thing in dragged),
            "colour that is dragged": label_counts(thing.colour for thing in dragged),
            "images": {
                "all": len(scenes),
                "with a mask": len(scenes) if self.mask == "changed" else 0,
            },
        }

    def digest(self) -> str:
        """SHA-256 over the settings and the version of scenes; n changes no example."""
        parts = f"shapes-drags/{WORLD_VERSION}/{self.split}/{self.mask}"
        if (self.things, self.pairs_of_points) != (None, 1):
            parts += f"/{self.things}/{self.pairs_of_points}"
        return hashlib.sha256(parts.encode()).hexdigest()


def _moves(scene: Scene, rng: random.Random, n: int) -> list[Scene] | None:
    """The scene, and the scene after each of n objects in turn moved; None if one found no room."""
    if not apart(scene.things):
        return None
    path, unmoved = [scene], list(range(len(scene.things)))
    for _ in range(n):
        found = moved(path[-1], rng, unmoved, first_angle=0.0)
        if found is None:
            return None
        scene, i = found
        path.append(scene)
        unmoved.remove(i)
    return path


def _difference(before: Scene, after: Scene) -> tuple[int, Point]:
    """Which object moved, and by how much."""
    pairs = enumerate(zip(before.things, after.things, strict=True))
    ((i, old, new),) = [(i, old, new) for i, (old, new) in pairs if old != new]
    return i, (new.x - old.x, new.y - old.y)


def _points(scene: Scene, i: int, n: int) -> list[Point]:
    """The centre of an object, and n - 1 of its solid pixels, each the farthest from the points
    before it."""
    rows, columns = np.nonzero(scene.coverage()[i] == 1)
    pixels = np.stack([columns, rows], axis=-1) + 0.5
    points = [(scene.things[i].x, scene.things[i].y)]
    for _ in range(n - 1):
        away = np.hypot(*(pixels[:, None] - np.array(points)).transpose(2, 0, 1)).min(axis=1)
        x, y = pixels[away.argmax()]
        points.append((float(x), float(y)))
    return points


def _grown(image: Pixels, truth: Pixels) -> Mask:
    """float32 [H, W]: 1 where pixels differ, dilated by _GROWN pixels."""
    differs = Image.fromarray(255 * (image != truth).any(axis=-1).astype(np.uint8))
    grown = differs.filter(ImageFilter.MaxFilter(2 * _GROWN + 1))
    return (np.asarray(grown) > 0).astype(np.float32)
