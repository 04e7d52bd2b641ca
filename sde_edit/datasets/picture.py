"""A single picture and its edit, for `sde-edit edit`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from sde_edit.api.citation import Citation
from sde_edit.api.dataset import DataStatus
from sde_edit.api.example import Drag, Example, Point
from sde_edit.errors import UserError
from sde_edit.imaging.files import read_grey, read_rgb
from sde_edit.imaging.fit import Fitting, Frame
from sde_edit.imaging.masks import Hole, as_mask
from sde_edit.registry import Text, plugin
from sde_edit.store.digests import file_digest

if TYPE_CHECKING:
    from sde_edit.api.example import Mask


@plugin
@dataclass(frozen=True)
class Picture:
    """image: a file of any size, whose central square is edited.

    caption: what the image shows. target: what the edited image should show.
    mask: a file of the image's size. hole: the colour of the region that may change.
    drags: each is [[from x, from y], [to x, to y]], in pixels of the file.
    """

    image: Text = field(metadata={"identity": False})
    resolution: Annotated[int, Field(ge=8)]
    caption: str = ""
    target: str = ""
    mask: Text | None = field(default=None, metadata={"identity": False})
    hole: Hole = "white"
    drags: tuple[tuple[Point, Point], ...] = ()
    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = None

    def ids(self) -> Sequence[str]:
        """The name of the file. Raises UserError if the file does not exist."""
        if not Path(self.image).is_file():
            raise UserError(f"data.image={self.image}: no such file")
        return [Path(self.image).stem]

    def load(self, example_id: str) -> Example:
        """image: uint8 [R, R, 3]; mask: float32 [R, R] of 0 and 1, where R is the resolution.

        Raises UserError for a file that cannot be used and for a mask of another size.
        """
        image = read_rgb(Path(self.image))
        frame = Fitting(self.resolution, "crop").frame(image.size, Path(self.image))
        return Example(
            example_id,
            frame.pixels(image),
            self.caption,
            self._mask(Path(self.mask), frame) if self.mask else None,
            target=self.target,
            drags=tuple(Drag(*(self._fit(p, frame) for p in pair)) for pair in self.drags),
        )

    def _mask(self, file: Path, frame: Frame) -> Mask:
        mask, size = read_grey(file), frame.source
        if mask.size != size:
            raise UserError(
                f"{file}: the mask is {mask.size[0]}x{mask.size[1]} and {self.image} "
                f"{size[0]}x{size[1]}; they must be of one size"
            )
        return as_mask(frame.greys(mask), file=file, hole=self.hole, threshold=0.5)

    def _fit(self, point: Point, frame: Frame) -> Point:
        """A point in the edited square. Raises UserError if it lies outside."""
        fitted = frame.point(point)
        if not frame.holds(fitted):
            size = frame.source
            raise UserError(
                f"the point {point[0]:g},{point[1]:g} is outside the central square of "
                f"{self.image}, which is {size[0]}x{size[1]} pixels: crop the picture around it"
            )
        return fitted

    def status(self) -> DataStatus:
        if Path(self.image).is_file():
            return DataStatus(1)
        return DataStatus(0, [f"{self.image}: no such file"], "give the path of a picture")

    def digest(self) -> str:
        """SHA-256 over the contents of the files; captions and points are settings."""
        files = [self.image, *([self.mask] if self.mask else [])]
        contents = "".join(file_digest(Path(file)) for file in files)
        return hashlib.sha256(contents.encode()).hexdigest()
