"""Peak signal-to-noise ratio in decibels, averaged over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sde_edit.api.example import Example
from sde_edit.evaluation.per_image import PIXEL_ERROR, FullReferenceMetric, to_unit
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor

# Rounding to 8 bits hides errors up to half a grey level, so smaller errors count as this one.
_LEAST_MSE = (0.5 / 255) ** 2


@plugin
@dataclass(frozen=True)
class Psnr(FullReferenceMetric):
    """-10 log10 MSE over pixels and channels in [0, 1]; 54.15 dB, the maximum, if identical.

    tolerance: a relative error e of the MSE moves its logarithm by 10 e / ln 10, less than 8 e.
    """

    version: ClassVar[int] = 1
    higher_is_better: ClassVar[bool] = True
    tolerance: ClassVar[float] = 8 * PIXEL_ERROR

    def convention(self) -> str:
        return (
            f"PSNR in dB per image against {self._compared_with}, RGB in [0, 1], peak 1, native "
            "size; MSE at least that of half a grey level, so at most 54.15 dB"
        )

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        difference = to_unit(images_BHWC.cpu()) - to_unit(self._references(examples))
        mse_B1 = difference.square().flatten(1).mean(1, keepdim=True)
        return -10 * mse_B1.clamp_min(_LEAST_MSE).log10()
