"""Embedded world: 64x64 scenes of coloured shapes with captions, free-form masks and the truth."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from sde_edit.api.example import Example
from sde_edit.imaging.masks import MASKS_VERSION, MaskSize
from sde_edit.imaging.shapes_world import WORLD_VERSION, FirstScenes, make_scene
from sde_edit.registry import plugin


@plugin
@dataclass(frozen=True)
class Shapes(FirstScenes):
    """The first `n` scenes of a split. A scene and its mask depend only on the index, not on n."""

    version: ClassVar[int] = 1

    masks: MaskSize = "small"

    def load(self, example_id: str) -> Example:
        """image = truth: uint8 [64, 64, 3]; mask: float32 [64, 64] of 0 and 1."""
        return self.to_fill(example_id, make_scene(self.index(example_id)), self.masks)

    def digest(self) -> str:
        """SHA-256 over the settings and the versions of scenes and masks; n changes no example."""
        parts = f"shapes/{WORLD_VERSION}/{MASKS_VERSION}/{self.split}/{self.masks}"
        return hashlib.sha256(parts.encode()).hexdigest()
