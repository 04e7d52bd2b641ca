"""A single picture and its edit, for `sde-edit edit`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from PIL import Image
from pydantic import Field

from sde_edit.api.citation import Citation
from sde_edit.api.dataset import DataStatus
from sde_edit.api.example import Drag, Example, Point
from sde_edit.errors import UserError
from sde_edit.imaging.files import (
    Size,
    fit_point,
    fit_to,
    read_grey,
    read_rgb,
    read_size,
    to_pixels,
)
from sde_edit.imaging.masks import Hole, as_mask
from sde_edit.imaging.names import composed
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
        """The name of the file. Raises UserError if it cannot be used."""
        if problem := self._problem():
            raise UserError(problem)
        return [composed(Path(self.image).stem)]

    def load(self, example_id: str) -> Example:
        """image: uint8 [R, R, 3]; mask: float32 [R, R] of 0 and 1, where R is the resolution.

        Raises UserError for a file that cannot be used and for a mask of another size.
        """
        image = read_rgb(Path(self.image))
        return Example(
            example_id,
            to_pixels(fit_to(image, self.resolution, Image.Resampling.BICUBIC)),
            self.caption,
            self._mask(Path(self.mask), image.size) if self.mask else None,
            target=self.target,
            drags=tuple(Drag(*(self._fit(p, image.size) for p in pair)) for pair in self.drags),
        )

    def _mask(self, file: Path, size: Size) -> Mask:
        mask = read_grey(file)
        if mask.size != size:
            raise UserError(
                f"{file}: the mask is {mask.size[0]}x{mask.size[1]} and {self.image} "
                f"{size[0]}x{size[1]}; they must be of one size"
            )
        fitted = fit_to(mask, self.resolution, Image.Resampling.BOX)
        greys = np.asarray(fitted, dtype=np.float32)
        return as_mask(greys, file=file, hole=self.hole, threshold=0.5)

    def _fit(self, point: Point, size: Size) -> Point:
        """A point in the edited square. Raises UserError if it lies outside."""
        x, y = fit_point(point, size, self.resolution)
        if not (0 <= x < self.resolution and 0 <= y < self.resolution):
            raise UserError(
                f"the point {point[0]:g},{point[1]:g} is outside the central square of "
                f"{self.image}, which is {size[0]}x{size[1]} pixels: crop the picture around it"
            )
        return x, y

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
