"""Embedded world: scenes of one object, whose shape is translated like a class."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.imaging.shapes_world import (
    SHAPES,
    SPLITS,
    WORLD_VERSION,
    FirstScenes,
    Scene,
    make_scene,
)
from sde_edit.registry import plugin, suggest


@plugin
@dataclass(frozen=True)
class ShapesClasses(FirstScenes):
    """The counterpart of `imagenet`: the shape is the class, and the truth is known.

    pair   SOURCE-TARGET: the shape in the image and the shape in the edited image

    caption and target name only the shape, such as "a circle"; they do not mention the colours,
    which should stay.
    """

    version: ClassVar[int] = 1

    pair: str = "circle-square"

    def __post_init__(self) -> None:
        super().__post_init__()
        shapes = self.pair.split("-")
        for unknown in (shape for shape in shapes if shape not in SHAPES):
            known = suggest(unknown, list(SHAPES))
            raise UserError(f"data.pair={self.pair!r}: no shape {unknown!r}.{known}")
        if len(shapes) != 2 or shapes[0] == shapes[1]:
            raise UserError(
                f"data.pair={self.pair!r}: must be two shapes, SOURCE-TARGET, as in circle-square"
            )

    def load(self, example_id: str) -> Example:
        """image, truth, reference: uint8 [64, 64, 3]; mask: float32 [64, 64] of 0 and 1.

        mask is 1 where image and truth differ. reference is an unrelated scene with the target's
        shape.
        """
        before, after = self.scenes(example_id)
        image, truth = before.render(), after.render()
        return Example(
            id=example_id,
            image=image,
            caption=_words(before),
            mask=(image != truth).any(axis=-1).astype(np.float32),
            truth=truth,
            target=_words(after),
            reference=self.other_scene(example_id).render(),
        )

    def scenes(self, example_id: str) -> tuple[Scene, Scene]:
        """The scene and its truth. Raises UserError for an unknown id."""
        source, target = self.pair.split("-")
        scene = make_scene(self.index(example_id), things_in_it=1)
        return scene.with_thing(0, shape=source), scene.with_thing(0, shape=target)

    def other_scene(self, example_id: str) -> Scene:
        """The scene half a split away, so that every example has a different one."""
        indices = SPLITS[self.split]
        i = (self.index(example_id) - indices.start + len(indices) // 2) % len(indices)
        return make_scene(indices[i], things_in_it=1).with_thing(0, shape=self.pair.split("-")[1])

    def digest(self) -> str:
        """SHA-256 over the settings and the version of scenes; n changes no example."""
        parts = f"shapes-classes/{WORLD_VERSION}/{self.split}/{self.pair}"
        return hashlib.sha256(parts.encode()).hexdigest()


def _words(scene: Scene) -> str:
    return scene.caption(colours=False, background=False)
