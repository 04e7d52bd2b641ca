"""Dragging Accuracy Index: how far the patch at a target differs from that at its source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Drag, Example
from sde_edit.errors import UserError
from sde_edit.evaluation.per_image import PIXEL_ERROR, PerImageMetric, to_unit
from sde_edit.registry import Natural, plugin

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.api.example import Point


@plugin
@dataclass(frozen=True)
class DraggingAccuracy(PerImageMetric):
    """Zhang et al. 2025 (GoodDrag): 0 if a drag copies its patch, at most 3.

    radius: of the square patches of (2 radius + 1)^2 pixels, gamma in the paper.

    The squared difference of two patches is summed over channels and averaged over pixels, then
    over the pairs of points of an image. The published code divides by the number of pairs a second
    time, and has no value for a patch that reaches beyond the image; here its pixels that lie in
    both images count.

    tolerance: that of a mean over pixels, of values up to 3.
    """

    radius: Natural

    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = papers.ZHANG2025GOODDRAG
    higher_is_better: ClassVar[bool] = False
    tolerance: ClassVar[float] = 4 * PIXEL_ERROR

    def convention(self) -> str:
        return (
            f"squared difference of the patches of radius {self.radius} pixels at the source in "
            "the source image and at the target in the output, summed over channels, mean over "
            "pixels inside both images, then over pairs of points; RGB in [0, 1], native size"
        )

    def check(self, example: Example) -> None:
        if not example.drags:
            raise UserError(f"example {example.id!r} has no drags")

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        outputs = to_unit(images_BHWC.cpu())
        values = [self._value(*both) for both in zip(outputs, examples, strict=True)]
        return torch.stack(values)[:, None]

    def _value(self, output_CHW: Tensor, example: Example) -> Tensor:
        """The mean over the pairs of points of an image."""
        source_CHW = to_unit(torch.from_numpy(example.image)[None])[0]
        pairs = (self._patches(source_CHW, output_CHW, drag) for drag in example.drags)
        return torch.stack([(a - b).square().sum(0).mean() for a, b in pairs]).mean()

    def _patches(self, source_CHW: Tensor, output_CHW: Tensor, drag: Drag) -> tuple[Tensor, Tensor]:
        """The patches at the source and at the target, without what one of them has outside."""
        places = _pixel(drag.source), _pixel(drag.target)
        height, width = source_CHW.shape[1:]
        left, up = (min(self.radius, *of) for of in zip(*places, strict=True))
        right = min(self.radius, *(width - 1 - x for x, _ in places))
        down = min(self.radius, *(height - 1 - y for _, y in places))
        a, b = (
            image[:, y - up : y + down + 1, x - left : x + right + 1]
            for image, (x, y) in zip((source_CHW, output_CHW), places, strict=True)
        )
        return a, b


def _pixel(point: Point) -> tuple[int, int]:
    """The pixel (x, y) that a point lies in."""
    return int(point[0]), int(point[1])
