"""Fits pictures of any shape to the size at which they are edited, and points and masks with them.

Sizes are (width, height) and points (x, y), as in Pillow; arrays are [H, W].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from PIL import Image

from sde_edit.errors import UserError
from sde_edit.imaging.files import Picture, Size, read_size, to_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sde_edit.api.example import Example, Mask, Pixels, Point

T = TypeVar("T", bound=np.generic)
Fit = Literal["exact", "crop", "pad", "keep"]
Side = Literal["short", "long"]
_THREADS = 8
_LONGEST = 8  # times the short side: what is longer is cut before it is resized, or refused


@dataclass(frozen=True)
class Fitting:
    """The settings `data.resolution`, `data.fit` and `data.side`.

    crop   the short side becomes `resolution`, and the central square is taken
    pad    the long side becomes `resolution`; the border is repeated until the picture is square.
           Nothing in the padding is hidden, and it counts in scores
    keep   the side that `side` names becomes `resolution`, and the other follows; with resolution
           null pictures keep their own size
    exact  pictures must be resolution x resolution
    """

    resolution: int | None
    fit: Fit
    side: Side = "short"

    def __post_init__(self) -> None:
        if self.resolution is None and self.fit != "keep":
            raise UserError(
                f"data.resolution=null keeps the sizes of the files, and data.fit={self.fit} does "
                "not: give a number of pixels, or data.fit=keep"
            )
        if self.resolution is not None and self.resolution < 8:
            raise UserError(f"data.resolution={self.resolution}: must be at least 8 pixels")
        if self.side != "short" and (self.fit != "keep" or self.resolution is None):
            raise UserError(
                f"data.side={self.side} acts only with data.fit=keep and a data.resolution: give "
                "both, or leave data.side out"
            )

    @property
    def varies(self) -> bool:
        """Whether pictures of different shapes stay so."""
        return self.fit == "keep"

    def frame(self, size: Size, file: Picture) -> Frame:
        """How a picture of this size is fitted. Raises UserError naming the file if it cannot."""
        resolution = self.resolution
        if resolution is None or self.fit == "keep":
            return self._kept(size, file)
        square = (resolution, resolution)
        if self.fit == "exact" and size != square:
            raise UserError(
                f"{file}: is {size[0]}x{size[1]}, not {resolution}x{resolution}. "
                "Resize it, or say data.fit=crop"
            )
        if self.fit == "pad":
            resized = _scaled(size, resolution / max(size))
            return Frame(size, (0, 0, *size), resized, _central(resized, square), square)
        window = _window(size)
        taken = (window[2] - window[0], window[3] - window[1])
        scale = resolution / min(taken)
        width, height = (max(resolution, round(side * scale)) for side in taken)
        return Frame(size, window, (width, height), _central((width, height), square), square)

    def sizes(self, files: Sequence[Picture]) -> list[Size]:
        """The size that each file has when it is fitted; reads their headers if it must."""
        if self.resolution is not None and not self.varies:
            return [(self.resolution, self.resolution)] * len(files)
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(lambda file: self.frame(read_size(file), file).size, files))

    def _kept(self, size: Size, file: Picture) -> Frame:
        if max(size) > _LONGEST * min(size):
            raise UserError(
                f"{file}: is {size[0]}x{size[1]}, longer than {_LONGEST} times its short side: cut "
                "it, or say data.fit=crop"
            )
        resized = size
        if self.resolution is not None:
            named = min(size) if self.side == "short" else max(size)
            resized = _scaled(size, self.resolution / named)
        if min(resized) < 8:
            raise UserError(f"{file}: becomes {resized[0]}x{resized[1]}; a side needs 8 pixels")
        return replace(unchanged(size), resized=resized, size=resized)


@dataclass(frozen=True)
class Frame:
    """The geometry of one fitted picture.

    window: (left, top, right, bottom) of what is taken of the source; it becomes `resized`, of
    which the part of `size` that begins at `offset` (left, top) is the result. A negative offset
    is padding.
    """

    source: Size
    window: tuple[int, int, int, int]
    resized: Size
    offset: tuple[int, int]
    size: Size

    def pixels(self, image: Image.Image) -> Pixels:
        """An RGB image: uint8 [H, W, 3], resized by an antialiased bicubic filter."""
        return np.pad(
            to_pixels(self._cut(image, Image.Resampling.BICUBIC)),
            (*self._padding, (0, 0)),
            mode="edge",
        )

    def greys(self, image: Image.Image) -> NDArray[np.float32]:
        """A grey image of mode F without padding, float32.

        With its area filter, a value above one half of white says that most of the area that the
        pixel covers is white.
        """
        return np.array(self._cut(image, Image.Resampling.BOX), dtype=np.float32)

    def padded(self, mask: Mask) -> Mask:
        """A mask made from `greys`, float32 [H, W]; nothing in the padding is hidden."""
        return np.pad(mask, self._padding)

    def point(self, point: Point) -> Point:
        """The position of a point of the source; outside the result if it is cut away."""
        left, top, right, bottom = self.window
        x = (point[0] - left) * self.resized[0] / (right - left) - self.offset[0]
        y = (point[1] - top) * self.resized[1] / (bottom - top) - self.offset[1]
        return x, y

    def holds(self, point: Point) -> bool:
        """Whether a fitted point lies in the result."""
        return 0 <= point[0] < self.size[0] and 0 <= point[1] < self.size[1]

    def _cut(self, image: Image.Image, resample: Image.Resampling) -> Image.Image:
        whole = (0, 0, *self.source)
        taken = image if self.window == whole else image.crop(self.window)
        resized = taken if taken.size == self.resized else taken.resize(self.resized, resample)
        left, top = (max(0, start) for start in self.offset)
        right = min(self.resized[0], self.offset[0] + self.size[0])
        bottom = min(self.resized[1], self.offset[1] + self.size[1])
        return resized.crop((left, top, right, bottom))

    @property
    def _padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Pixels before and after, of the rows and of the columns."""
        before = [max(0, -start) for start in self.offset]
        after = [
            max(0, start + side - resized)
            for start, side, resized in zip(self.offset, self.size, self.resized, strict=True)
        ]
        return (before[1], after[1]), (before[0], after[0])


def unchanged(size: Size) -> Frame:
    """The frame of a picture that has its final size."""
    return Frame(size, (0, 0, *size), size, (0, 0), size)


def extended(example: Example, factor: int) -> Example:
    """The example with its right and lower borders repeated up to multiples of `factor` pixels.

    Points keep their places, as the upper left corner stays where it is.
    """
    height, width = example.image.shape[:2]
    after = ((0, -height % factor), (0, -width % factor))
    if after == ((0, 0), (0, 0)):
        return example

    def wider(array: NDArray[T]) -> NDArray[T]:
        return np.pad(array, (*after, (0, 0))[: array.ndim], mode="edge")

    return replace(
        example,
        image=wider(example.image),
        mask=None if example.mask is None else wider(example.mask),
        truth=None if example.truth is None else wider(example.truth),
        hint=None if example.hint is None else wider(example.hint),
    )


def pixels_per_cell(cells: Size, image: Size) -> int:
    """How many pixels of an image a cell of its latent or feature map has along a side.

    Networks halve sides, so it is a power of two; the last cells may reach beyond the image.
    """
    most = max(pixels / count for pixels, count in zip(image, cells, strict=True))
    return 1 << max(0, math.ceil(math.log2(most)))


def _scaled(size: Size, scale: float) -> Size:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _central(size: Size, square: Size) -> tuple[int, int]:
    """(left, top) of the central square; negative if it is larger."""
    return (size[0] - square[0]) // 2, (size[1] - square[1]) // 2


def _window(size: Size) -> tuple[int, int, int, int]:
    """The picture, or its central part if it is so long that resizing would fill the memory."""
    width, height = (min(side, _LONGEST * min(size)) for side in size)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height
