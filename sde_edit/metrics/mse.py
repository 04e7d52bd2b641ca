"""Mean squared error between two images, averaged over images."""

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
class Mse(FullReferenceMetric):
    """Over pixels and channels in [0, 1].

    tolerance: that of a mean over pixels.
    """

    version: ClassVar[int] = 1
    higher_is_better: ClassVar[bool] = False
    tolerance: ClassVar[float] = PIXEL_ERROR

    def convention(self) -> str:
        return (
            f"mean squared error per image against {self._compared_with}, over pixels and "
            "channels, RGB in [0, 1], native size"
        )

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        difference = to_unit(images_BHWC.cpu()) - to_unit(self._references(examples))
        return difference.square().flatten(1).mean(1, keepdim=True)
