"""Embedded world: scenes in which one object is dragged to another place; the truth is known."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from PIL import Image, ImageFilter

from sde_edit.api.example import Drag, Example
from sde_edit.imaging.image_drags import label_counts
from sde_edit.imaging.shapes_world import (
    IMAGE_SIZE,
    WORLD_VERSION,
    FirstScenes,
    Scene,
    Thing,
    make_scene,
)
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from sde_edit.api.example import Mask, Pixels

DISTANCES = (8.0, 24.0)  # pixels
_REACH = 1.15  # distance of the outermost point of any shape, in radii (a star)
_TRIES = 100
_GROWN = 4  # margin of masks in pixels: one cell of the embedded latents


@plugin
@dataclass(frozen=True)
class ShapesDrags(FirstScenes):
    """The scenes of `shapes`, each with one object to move; the drag depends only on the index.

    mask   none; or changed: where image and truth differ, dilated by 4 pixels so that it does not
           reveal the outline

    Objects do not touch before or after the drag. If two objects leave no room for that, the scene
    is drawn again with one object.
    """

    version: ClassVar[int] = 1

    mask: Literal["none", "changed"] = "none"

    def load(self, example_id: str) -> Example:
        """image, truth: uint8 [64, 64, 3]; mask: float32 [64, 64], 1 = may change, or None.

        drags: one, from the centre of the object to its target. It is a whole number of pixels
        along each axis, so the inner pixels of the object are the same in image and truth.
        """
        before, after = self.scenes(example_id)
        image, truth = before.render(), after.render()
        ((source, target),) = {
            ((old.x, old.y), (new.x, new.y))
            for old, new in zip(before.things, after.things, strict=True)
            if old != new
        }
        return Example(
            id=example_id,
            image=image,
            caption=before.caption(),
            mask=_grown(image, truth) if self.mask == "changed" else None,
            truth=truth,
            drags=(Drag(source, target),),
        )

    def scenes(self, example_id: str) -> tuple[Scene, Scene]:
        """The scene and its truth. Raises UserError for an unknown id."""
        index = self.index(example_id)
        rng = random.Random(f"shapes-drags-{index}")
        scene = make_scene(index)
        moved = _moved(scene, rng)
        while moved is None:  # a single object always finds room, so this ends
            scene = make_scene(index, things_in_it=1)
            moved = _moved(scene, rng)
        return scene, moved

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
        return hashlib.sha256(parts.encode()).hexdigest()


def _moved(scene: Scene, rng: random.Random) -> Scene | None:
    """The scene with one object moved by whole pixels; None if no attempt found room."""
    if not _apart(scene):
        return None
    low, high = DISTANCES
    for _ in range(_TRIES):
        i = int(rng.random() * len(scene.things))
        distance, angle = low + (high - low) * rng.random(), 2 * math.pi * rng.random()
        dx, dy = round(distance * math.cos(angle)), round(distance * math.sin(angle))
        thing = scene.things[i]
        after = scene.with_thing(i, x=thing.x + dx, y=thing.y + dy)
        if low <= math.hypot(dx, dy) <= high and _in_image(after.things[i]) and _apart(after):
            return after
    return None


def _in_image(thing: Thing) -> bool:
    """Whether the object keeps the margin that `make_scene` keeps."""
    margin = thing.radius + 1
    return all(margin <= place <= IMAGE_SIZE - margin for place in (thing.x, thing.y))


def _apart(scene: Scene) -> bool:
    """Whether no two objects can touch."""
    return all(
        math.hypot(a.x - b.x, a.y - b.y) > _REACH * (a.radius + b.radius) + 1
        for i, a in enumerate(scene.things)
        for b in scene.things[:i]
    )


def _grown(image: Pixels, truth: Pixels) -> Mask:
    """float32 [H, W]: 1 where pixels differ, dilated by _GROWN pixels."""
    differs = Image.fromarray(255 * (image != truth).any(axis=-1).astype(np.uint8))
    grown = differs.filter(ImageFilter.MaxFilter(2 * _GROWN + 1))
    return (np.asarray(grown) > 0).astype(np.float32)
