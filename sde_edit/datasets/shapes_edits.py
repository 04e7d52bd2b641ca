"""Embedded world: scenes with a prompt that asks for one change; masks and truth are known."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeVar

import numpy as np

from sde_edit.api.example import Example
from sde_edit.imaging.shapes_world import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    WORLD_VERSION,
    FirstScenes,
    Scene,
    make_scene,
)
from sde_edit.registry import plugin

Attribute = Literal["colour", "shape", "background"]
_Word = TypeVar("_Word", bound=str)
_ATTRIBUTES: tuple[Attribute, ...] = ("colour", "shape", "background")
_CHOICES = {"any": _ATTRIBUTES, "object": _ATTRIBUTES[:2]}


@plugin
@dataclass(frozen=True)
class ShapesEdits(FirstScenes):
    """The scenes of `shapes`, each with an edit that depends on its index and `edit`.

    edit   colour or shape of one object, or the background; object: colour or shape; any: one of
           the three
           add: one object becomes two; delete: two become one. Scenes of one object in `shapes`
           are then drawn again with two
    """

    version: ClassVar[int] = 1

    edit: Literal["colour", "shape", "background", "object", "any", "add", "delete"] = "any"

    def load(self, example_id: str) -> Example:
        """image, truth: uint8 [64, 64, 3]; mask: float32 [64, 64], 1 where they differ, else 0.

        caption and target are the full captions of the scene and of the edited scene.
        """
        before, after = self.scenes(example_id)
        image, truth = before.render(), after.render()
        return Example(
            id=example_id,
            image=image,
            caption=before.caption(),
            mask=(image != truth).any(axis=-1).astype(np.float32),
            truth=truth,
            target=after.caption(),
        )

    def scenes(self, example_id: str) -> tuple[Scene, Scene]:
        """The scene and the edited scene. Raises UserError for an unknown id."""
        index = self.index(example_id)
        rng = random.Random(f"shapes-edits-{self.edit}-{index}")
        if self.edit in ("add", "delete"):
            both = make_scene(index, things_in_it=2)
            one = replace(both, things=(both.things[int(rng.random() * 2)],))
            return (one, both) if self.edit == "add" else (both, one)
        attribute = self.edit if self.edit in _ATTRIBUTES else _pick(rng, _CHOICES[self.edit])
        scene = make_scene(index)
        return scene, _edited(scene, attribute, rng)

    def digest(self) -> str:
        """SHA-256 over the settings and the version of scenes; n changes no example."""
        parts = f"shapes-edits/{WORLD_VERSION}/{self.split}/{self.edit}"
        return hashlib.sha256(parts.encode()).hexdigest()


def _edited(scene: Scene, attribute: Attribute, rng: random.Random) -> Scene:
    """The scene with one attribute changed.

    As in `make_scene`, objects differ in colour from each other and from the background.
    """
    colours = {scene.background, *(thing.colour for thing in scene.things)}
    if attribute == "background":
        return replace(scene, background=_pick(rng, BACKGROUNDS, but=colours))
    i = int(rng.random() * len(scene.things))
    if attribute == "colour":
        return scene.with_thing(i, colour=_pick(rng, COLOURS, but=colours))
    return scene.with_thing(i, shape=_pick(rng, SHAPES, but={scene.things[i].shape}))


def _pick(rng: random.Random, options: Iterable[_Word], but: Collection[str] = ()) -> _Word:
    left = [option for option in options if option not in but]
    return left[int(rng.random() * len(left))]
