"""Distance in pixels between the centroids of the foreground in output and reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.evaluation.per_image import PIXEL_ERROR, PerImageMetric, reference
from sde_edit.imaging.foreground import SHARES, THRESHOLD, centroid, check_plane, foreground
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.api.example import Pixels


@plugin
@dataclass(frozen=True)
class PositionShift(PerImageMetric):
    """For the shapes world only: the centroid is that of all objects together.

    An output without a foreground counts as the diagonal of the image, which is farther than any
    object can move.
    tolerance: places are below 2^12 pixels, and their mean has the relative error of one of pixel
    values.
    """

    version: ClassVar[int] = 1
    higher_is_better: ClassVar[bool] = False
    tolerance: ClassVar[float] = 2**12 * PIXEL_ERROR

    def convention(self) -> str:
        low, high = SHARES
        return (
            "distance in pixels per image of the centroid of what stands out from that in the "
            f"reference; what stands out: more than {THRESHOLD} levels in a channel from a plane "
            f"fitted to the border by least absolute differences, if it is {low:.2%} to {high:.0%} "
            "of the image; if not, the diagonal of the image is counted; native size"
        )

    def check(self, example: Example) -> None:
        """Objects must stand out from a plain background."""
        check_plane(example)

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        """Raises UserError naming an example whose reference has no foreground."""
        outputs = images_BHWC.cpu().numpy()
        shifts = [self._shift(image, e) for image, e in zip(outputs, examples, strict=True)]
        return torch.tensor(shifts, dtype=torch.float64)[:, None]

    def _shift(self, output: Pixels, example: Example) -> float:
        right = centroid(foreground(reference(example)))
        if right is None:
            raise UserError(f"nothing stands out in the reference of example {example.id!r}")
        found = centroid(foreground(output))
        return math.hypot(*output.shape[:2]) if found is None else math.dist(found, right)
