"""A single picture and its edit, for `sde-edit edit`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from sde_edit.api.citation import Citation
from sde_edit.api.dataset import DataStatus
from sde_edit.api.example import Drag, Example, Point
from sde_edit.errors import UserError
from sde_edit.imaging.files import Size, read_grey, read_rgb, read_size, to_pixels
from sde_edit.imaging.fit import Fitting, Frame
from sde_edit.imaging.masks import Hole, as_mask
from sde_edit.imaging.names import composed
from sde_edit.registry import Text, plugin
from sde_edit.store.digests import file_digest

if TYPE_CHECKING:
    from sde_edit.api.example import Mask

_Box = tuple[int, int, int, int]  # left, top, right, bottom
_LONGEST = 2  # times `resolution`


@plugin
@dataclass(frozen=True)
class Picture:
    """image: a file of any size.

    resolution: the short side at which it is edited, in pixels. The long side is at most twice
    that, and the short one of a longer picture follows from it. null: its own size.
    fit: keep, and the whole picture is edited; or crop, and only its central square is.
    caption: what the image shows. target: what the edited image should show.
    mask: a file of the image's size. hole: the colour of the region that may change.
    drags: each is [[from x, from y], [to x, to y]], in pixels of the file.
    """

    image: Text = field(metadata={"identity": False})
    resolution: Annotated[int, Field(ge=8)] | None
    fit: Literal["keep", "crop"] = "keep"
    caption: str = ""
    target: str = ""
    mask: Text | None = field(default=None, metadata={"identity": False})
    hole: Hole = "white"
    drags: tuple[tuple[Point, Point], ...] = ()
    version: ClassVar[int] = 2
    citation: ClassVar[Citation | None] = None

    def ids(self) -> Sequence[str]:
        """The name of the file. Raises UserError if it cannot be used."""
        if problem := self._problem():
            raise UserError(problem)
        return [composed(Path(self.image).stem)]

    def sizes(self, ids: Sequence[str]) -> list[Size]:
        """(width, height) at which the picture is edited, from its header."""
        left, top, right, bottom = self._box(read_size(Path(self.image)))
        return [self._frame((right - left, bottom - top)).size] * len(ids)

    def load(self, example_id: str) -> Example:
        """The picture at the size at which it is edited; its mask is float32 of 0 and 1.

        A pixel is hidden as soon as it covers a hidden one of the file. Raises UserError as `photo`
        does.
        """
        photo = self.photo()
        image = Image.fromarray(photo.image)
        frame = self._frame(image.size)
        mask = None
        if photo.mask is not None:
            mask = (frame.greys(Image.fromarray(photo.mask)) > 0).astype(np.float32)
        drags = [Drag(frame.point(drag.source), frame.point(drag.target)) for drag in photo.drags]
        return replace(photo, image=frame.pixels(image), mask=mask, drags=tuple(drags))

    def photo(self) -> Example:
        """What is edited of the file, at its own size: mask and points are in its pixels.

        Raises UserError for a file that cannot be used, a mask of another size, and a point
        outside.
        """
        if self.drags and all(source == target for source, target in self.drags):
            raise UserError("source and target of the drag are one, so nothing is to move")
        image = read_rgb(Path(self.image))
        box = self._box(image.size)
        return Example(
            composed(Path(self.image).stem),
            to_pixels(image.crop(box)),
            self.caption,
            self._mask(Path(self.mask), image.size, box) if self.mask else None,
            target=self.target,
            drags=tuple(Drag(*(self._inside(p, image.size, box) for p in d)) for d in self.drags),
        )

    def _box(self, size: Size) -> _Box:
        """The part of the file that is edited."""
        if self.fit == "keep":
            return (0, 0, *size)
        side = min(size)
        left, top = ((length - side) // 2 for length in size)
        return left, top, left + side, top + side

    def _frame(self, size: Size) -> Frame:
        """How the part of this size becomes what is edited."""
        fitting = Fitting(self.resolution, "keep")
        if self.resolution is not None and max(size) > _LONGEST * min(size):
            fitting = Fitting(_LONGEST * self.resolution, "keep", "long")
        return fitting.frame(size, Path(self.image))

    def _mask(self, file: Path, size: Size, box: _Box) -> Mask:
        mask = read_grey(file)
        if mask.size != size:
            raise UserError(
                f"{file}: the mask is {mask.size[0]}x{mask.size[1]} and {self.image} "
                f"{size[0]}x{size[1]}; they must be of one size"
            )
        values = np.array(mask.crop(box), dtype=np.float32)
        return as_mask(values, file=file, hole=self.hole, threshold=0.5)

    def _inside(self, point: Point, size: Size, box: _Box) -> Point:
        """A point of the file in pixels of the box. Raises UserError if it lies outside."""
        (x, y), (left, top, right, bottom) = point, box
        if left <= x < right and top <= y < bottom:
            return x - left, y - top
        square = "the central square of " if self.fit == "crop" else ""
        raise UserError(
            f"the point {x:g},{y:g} is outside {square}{self.image}, which is "
            f"{size[0]}x{size[1]} pixels" + (": crop the picture around it" if square else "")
        )

    def status(self) -> DataStatus:
        if problem := self._problem():
            return DataStatus(0, [problem], "Give the path of a picture")
        return DataStatus(1)

    def _problem(self) -> str:
        """Why the picture cannot be used, as far as its header tells; "" if it can."""
        try:
            read_size(Path(self.image))
        except UserError as error:
            return f"data.image={error}"
        return ""

    def digest(self) -> str:
        """SHA-256 over the contents of the files; captions and points are settings."""
        files = [self.image, *([self.mask] if self.mask else [])]
        contents = "".join(file_digest(Path(file)) for file in files)
        return hashlib.sha256(contents.encode()).hexdigest()
