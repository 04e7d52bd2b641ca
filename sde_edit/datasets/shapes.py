"""Embedded world: 64x64 scenes of coloured shapes with captions, free-form masks and the truth."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from sde_edit.masks import MASKS_VERSION, MaskSize, draw_mask
from sde_edit.registry import plugin
from sde_edit.shapes import IMAGE_SIZE, SPLITS, WORLD_VERSION, Split, make_scene
from sde_edit.types import DataStatus, Example, UserError


@plugin
@dataclass(frozen=True)
class Shapes:
    """The first `n` scenes of a split. A scene and its mask depend on the index alone, not on n."""

    version: ClassVar[int] = 1

    split: Split = "test"
    n: int = field(default=256, metadata={"identity": False})
    masks: MaskSize = "small"

    def __post_init__(self) -> None:
        if not 0 < self.n <= len(SPLITS[self.split]):
            limit = len(SPLITS[self.split])
            raise UserError(f"data.n={self.n}: split {self.split!r} has 1 to {limit} examples")

    def ids(self) -> Sequence[str]:
        return [self._id(i) for i in range(self.n)]

    def _id(self, i: int) -> str:
        return f"{self.split}-{i:06d}"

    def load(self, example_id: str) -> Example:
        """image = truth: uint8 [64, 64, 3]; mask: float32 [64, 64] of 0 and 1."""
        index = SPLITS[self.split][self._number(example_id)]
        scene = make_scene(index)
        image = scene.render()
        return Example(
            id=example_id,
            image=image,
            caption=scene.caption(),
            mask=draw_mask(self.masks, str(index), height=IMAGE_SIZE, width=IMAGE_SIZE),
            truth=image.copy(),
        )

    def _number(self, example_id: str) -> int:
        digits = example_id.removeprefix(f"{self.split}-")
        if digits.isdecimal() and int(digits) < self.n and self._id(int(digits)) == example_id:
            return int(digits)
        raise UserError(
            f"no example {example_id!r}: ids are {self._id(0)} to {self._id(self.n - 1)}"
        )

    def status(self) -> DataStatus:
        return DataStatus(found=self.n, notes=["drawn on the fly; nothing to fetch"])

    def digest(self) -> str:
        """The versions of what draws scenes and masks; n is left out, for it changes no example."""
        parts = f"shapes/{WORLD_VERSION}/{MASKS_VERSION}/{self.split}/{self.masks}"
        return hashlib.sha256(parts.encode()).hexdigest()
