"""Euclidean distance between two images, averaged over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sde_edit.api.example import Example
from sde_edit.evaluation.per_image import PIXEL_ERROR, FullReferenceMetric, to_unit
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class L2(FullReferenceMetric):
    """Norm of the difference of all values in [0, 1]; not a mean, so it grows with resolution.

    This is the convention of CycleDiffusion (Wu & De la Torre 2022). Black and white at 256x256 are
    sqrt(3 * 256^2) = 443 apart.
    tolerance: that of the sum, whose relative error the root halves.
    """

    version: ClassVar[int] = 1
    higher_is_better: ClassVar[bool] = False
    tolerance: ClassVar[float] = PIXEL_ERROR

    def convention(self) -> str:
        return (
            f"L2 norm per image against {self._compared_with}: root of the sum (not the mean) of "
            "squared differences over pixels and channels, RGB in [0, 1], native size"
        )

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        difference = to_unit(images_BHWC.cpu()) - to_unit(self._references(examples))
        norms: Tensor = difference.flatten(1).norm(dim=1, keepdim=True)
        return norms
