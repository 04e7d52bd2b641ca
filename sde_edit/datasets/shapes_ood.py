"""Embedded world: scenes out of the distribution of training, in one way; the truth is known."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from sde_edit.api.example import Drag, Example
from sde_edit.errors import UserError
from sde_edit.imaging.masks import MASKS_VERSION, MaskSize
from sde_edit.imaging.shapes_world import WORLD_VERSION, FirstScenes, Scene
from sde_edit.imaging.shifted_scenes import (
    NEW,
    SHIFTS_VERSION,
    Shift,
    shifted_drag,
    shifted_scene,
)
from sde_edit.registry import plugin


@plugin
@dataclass(frozen=True)
class ShapesOod(FirstScenes):
    """The scenes of `shapes` with one change, which depends only on the index and on `shift`.

    shift  what is new. none: nothing, to compare with; things: three things instead of one or two;
           shape: crescents and arrows; colour: five colours; background: stripes
    ask    fill: the mask hides a region, and the image is the truth; move: one thing is dragged

    Captions use the words that the model knows: the nearest known shape or colour in place of a new
    one, and no word for stripes.
    """

    version: ClassVar[int] = 1

    shift: Shift = "none"
    ask: Literal["fill", "move"] = "fill"
    masks: MaskSize = "small"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ask == "move" and self.masks != "small":
            raise UserError(
                f"data.masks={self.masks} has no effect with data.ask=move, which hides nothing: "
                "leave it at small"
            )

    def load(self, example_id: str) -> Example:
        """image, truth: uint8 [64, 64, 3]; mask: float32 [64, 64] of 0 and 1, or None.

        With `ask` fill the mask is that of `shapes` for the same index. With `move` there is none,
        and one drag from the centre of a thing to its target.
        """
        if self.ask == "move":
            return self._to_move(example_id)
        scene = shifted_scene(self.index(example_id), self.shift)
        return replace(self.to_fill(example_id, scene, self.masks), novel=NEW[self.shift])

    def _to_move(self, example_id: str) -> Example:
        before, after = self.scenes(example_id)
        ends = zip(before.things, after.things, strict=True)
        ((source, target),) = {((a.x, a.y), (b.x, b.y)) for a, b in ends if a != b}
        return Example(
            id=example_id,
            image=before.render(),
            caption=before.caption(),
            truth=after.render(),
            drags=(Drag(source, target),),
            novel=NEW[self.shift],
        )

    def scenes(self, example_id: str) -> tuple[Scene, Scene]:
        """The scene before and after the drag. Raises UserError for an unknown id."""
        return shifted_drag(self.index(example_id), self.shift)

    def digest(self) -> str:
        """SHA-256 over the settings and the versions of scenes and masks; n changes no example."""
        versions = f"{WORLD_VERSION}/{SHIFTS_VERSION}/{MASKS_VERSION}"
        parts = f"shapes-ood/{versions}/{self.split}/{self.shift}/{self.ask}/{self.masks}"
        return hashlib.sha256(parts.encode()).hexdigest()
