"""Masks of the region to generate: drawn free-form from a seed, or read from a grey image.

A mask is float32 [H, W] in [0, 1] with 1 = hidden. Files differ in polarity: with `hole` "black", 0
is hidden (MAT, MI-GAN); with "white", 255 is hidden (edge-connect, DeepFill, SD).

Drawn masks resemble those of LaMa and MAT: a few boxes, then zigzag strokes of a round brush. Each
mask has a target ratio of hidden pixels and drawing stops when it is reached, so the mean ratio of
a data set is known. Drawing does not use Pillow, whose outlines changed between versions, and takes
its randomness from `random.Random.random`, whose stream Python guarantees.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sde_edit.api.override import override
from sde_edit.errors import UserError

if TYPE_CHECKING:
    from sde_edit.api.example import Mask

MASKS_VERSION = 1
MaskSize = Literal["small", "large"]
Hole = Literal["black", "white"]

# Ratio of hidden pixels, uniform over a data set: the means are the paper's 0.2 and 0.4.
RATIOS: dict[MaskSize, tuple[float, float]] = {"small": (0.1, 0.3), "large": (0.3, 0.5)}

# All lengths are in units of the short side.
_BOXES = 3  # maximal number of boxes
_BOX_SHARE = 0.6  # maximal share of the target that boxes cover
_BOX_SIDES = (0.1, 0.5)
_RADII = (0.04, 0.12)
_REACHES = (0.1, 0.4)  # length of one leg of a stroke
_LEGS = (4, 12)
_TURNS = (0.2, 2.4)  # radians, alternately to the left and to the right
_LAST = 0.06  # with less area left, in squared short sides, the stroke continues to the end


# ------------------------------------------------------------------ drawn
def draw_mask(masks: MaskSize, key: str, *, height: int, width: int) -> Mask:
    """The free-form mask of a key: float32 [H, W] of 0 and 1, its ratio uniform in RATIOS[masks].

    It depends only on the arguments. `key` names the example, so each example has its own mask.
    """
    rng = random.Random(f"masks-{MASKS_VERSION}-{masks}-{key}")
    return free_form(rng, _between(rng, RATIOS[masks]), height=height, width=width)


def free_form(rng: random.Random, ratio: float, *, height: int, width: int) -> Mask:
    """Boxes and strokes until the share `ratio` of the pixels is hidden; float32 [H, W] of 0 and 1.

    The share exceeds `ratio` by at most one dot of the brush. Raises ValueError unless 0 < ratio <
    1.
    """
    if not 0 < ratio < 1:
        raise ValueError(f"ratio {ratio}: not between 0 and 1")
    canvas = _Canvas.blank(height, width, ratio)
    for _ in range(int(rng.random() * (_BOXES + 1))):
        _box(rng, canvas)
    while canvas.left > 0:
        _stroke(rng, canvas)
    return canvas.hidden.astype(np.float32)


@dataclass
class _Canvas:
    """hidden: bool [H, W]. left: pixels still to hide. side: the short side in pixels."""

    hidden: NDArray[np.bool_]
    side: int
    target: float
    left: float

    @classmethod
    def blank(cls, height: int, width: int, ratio: float) -> _Canvas:
        target = ratio * height * width
        return cls(np.zeros((height, width), dtype=bool), min(height, width), target, target)

    def hide(self, top: int, left: int, patch: NDArray[np.bool_]) -> None:
        """Hide the true pixels of a patch whose corner is at (top, left), inside the canvas."""
        view = self.hidden[top : top + patch.shape[0], left : left + patch.shape[1]]
        self.left -= int(np.count_nonzero(patch & ~view))
        view |= patch


def _box(rng: random.Random, canvas: _Canvas) -> None:
    """Hide a rectangle, unless boxes would then cover more than their share of the target."""
    height, width = (max(1, round(canvas.side * _between(rng, _BOX_SIDES))) for _ in range(2))
    rows, columns = canvas.hidden.shape
    top, left = int(rng.random() * (rows - height + 1)), int(rng.random() * (columns - width + 1))
    if canvas.left - height * width >= (1 - _BOX_SHARE) * canvas.target:
        canvas.hide(top, left, np.ones((height, width), dtype=bool))


def _stroke(rng: random.Random, canvas: _Canvas) -> None:
    """Hide a zigzag stroke of a round brush. The last stroke continues to the target."""
    rows, columns = canvas.hidden.shape
    radius = canvas.side * _between(rng, _RADII)
    x, y = columns * rng.random(), rows * rng.random()
    heading, side = _between(rng, (-math.pi, math.pi)), 1.0 if rng.random() < 0.5 else -1.0
    legs = int(_between(rng, _LEGS))
    while canvas.left > 0 and (legs > 0 or canvas.left < _LAST * canvas.side**2):
        reach = canvas.side * _between(rng, _REACHES)
        goal_x = _fold(x + reach * math.cos(heading), columns)
        goal_y = _fold(y + reach * math.sin(heading), rows)
        _leg(canvas, (x, y), (goal_x, goal_y), radius)
        heading = math.atan2(goal_y - y, goal_x - x) + side * _between(rng, _TURNS)
        x, y, legs, side = goal_x, goal_y, legs - 1, -side


def _fold(position: float, length: int) -> float:
    """Reflect a position at the edges, so that strokes turn back instead of running along them."""
    return length - abs(length - abs(position))


def _leg(
    canvas: _Canvas, start: tuple[float, float], goal: tuple[float, float], radius: float
) -> None:
    """Draw from start to goal (x, y in pixels), or until nothing is left to hide."""
    steps = max(1, math.ceil(8 * math.dist(start, goal) / radius))
    for i in range(steps + 1):
        if canvas.left <= 0:
            return
        share = i / steps
        x, y = (a + share * (b - a) for a, b in zip(start, goal, strict=True))
        _dot(canvas, x, y, radius)


def _dot(canvas: _Canvas, x: float, y: float, radius: float) -> None:
    """Hide the pixels whose centre lies within `radius` of (x, y)."""
    rows, columns = canvas.hidden.shape
    top, left = max(0, math.floor(y - radius)), max(0, math.floor(x - radius))
    dy = np.arange(top, min(rows, math.ceil(y + radius))) + 0.5 - y
    dx = np.arange(left, min(columns, math.ceil(x + radius))) + 0.5 - x
    canvas.hide(top, left, dy[:, None] ** 2 + dx**2 <= radius**2)


def _between(rng: random.Random, limits: tuple[float, float]) -> float:
    low, high = limits
    return low + (high - low) * rng.random()


# ------------------------------------------------------------------ read
def as_mask(
    values: NDArray[np.float32], *, file: Path, hole: Hole, threshold: float | None
) -> Mask:
    """float32 [H, W] in [0, 1], 1 = hidden, from grey values [H, W] of 0 to 255.

    The degree of hiding is value / 255, or 1 - value / 255 for black holes. Pixels where it exceeds
    `threshold` are hidden; None keeps a soft mask. Raises UserError naming `file` if everything or
    nothing is hidden.
    """
    bright = np.clip(values / np.float32(255), 0, 1)
    hidden = bright if hole == "white" else 1 - bright
    mask: Mask = hidden if threshold is None else (hidden > threshold).astype(np.float32)
    if mask.max() > 0 and mask.min() < 1:
        return mask
    what = "hides nothing" if mask.max() <= 0 else "hides the whole image"
    raise UserError(
        f"{file}: mask {what}: its values are {values.min():.0f} to {values.max():.0f} of 255, "
        f"hole={hole}, {override('threshold', threshold)}. Correct or remove the mask, or choose "
        "the hole and the threshold that the files mean"
    )
