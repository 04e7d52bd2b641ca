"""Marks in images: arrows of drags, outlines of masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sde_edit.api.example import Drag, Point

if TYPE_CHECKING:
    from sde_edit.api.example import Mask, Pixels


_DARK, _LIGHT = (20, 20, 20), (255, 255, 255)
_SMOOTH = 4  # lines are drawn so many times larger


def enlarged(image: Pixels, factor: int) -> Image.Image:
    """A uint8 image [H, W, 3], each pixel a square of `factor` pixels."""
    height, width = (side * factor for side in image.shape[:2])
    return Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST)


def marked(image: Pixels, *, drags: Sequence[Drag], mask: Mask | None, factor: int) -> Image.Image:
    """An enlarged image with an arrow for each drag and the outline of its mask."""
    picture = enlarged(image, factor)
    if mask is not None:
        _draw_outline(picture, mask, factor)
    for drag in drags:
        draw_arrow(picture, drag, factor)
    return picture


def _draw_outline(picture: Image.Image, mask: Mask, factor: int) -> None:
    """Draw a light line with a dark rim along the inner edge of what the mask marks."""
    inside = (mask >= 0.5).repeat(factor, axis=0).repeat(factor, axis=1)
    thin = max(1, picture.width // 256)
    for colour, width in ((_DARK, 3 * thin), (_LIGHT, thin)):
        edge = inside & ~_eroded(inside, width)
        picture.paste(colour, mask=Image.fromarray(edge))


def _eroded(inside: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """What lies further than `width` from outside, which does not begin at the image's border."""
    for axis in (0, 1):
        padded = np.pad(inside, [(width, width) if i == axis else (0, 0) for i in (0, 1)], "edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * width + 1, axis)
        inside = np.logical_and.reduce(windows, axis=-1)
    return inside


def draw_arrow(picture: Image.Image, drag: Drag, factor: int) -> None:
    """Draw a white arrow with a dark rim from source to target into an image enlarged by `factor`.

    The lines are drawn larger and reduced, so that they are smooth.
    """
    wide = max(2.0, picture.width / 96)
    (x, y), (to_x, to_y) = ((px * factor, py * factor) for px, py in (drag.source, drag.target))
    angle = math.atan2(to_y - y, to_x - x)
    barbs = [
        (to_x - 5 * wide * math.cos(turn), to_y - 5 * wide * math.sin(turn))
        for turn in (angle - 0.5, angle + 0.5)
    ]
    for colour, width in ((_DARK, 3 * wide), (_LIGHT, 1.4 * wide)):
        mask = Image.new("L", [_SMOOTH * side for side in picture.size])
        draw = ImageDraw.Draw(mask)
        for start in ((x, y), *barbs):
            _draw_line(draw, start, (to_x, to_y), width)
        picture.paste(colour, mask=mask.resize(picture.size, Image.Resampling.BOX))


def _draw_line(draw: ImageDraw.ImageDraw, start: Point, end: Point, width: float) -> None:
    """Draw a line with round ends on a mask that is _SMOOTH times as large."""
    ends = [(_SMOOTH * x, _SMOOTH * y) for x, y in (start, end)]
    draw.line(ends, 255, round(_SMOOTH * width))
    for centre in ends:
        draw.circle(centre, _SMOOTH * width / 2, 255)
