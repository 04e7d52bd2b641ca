"""Structural similarity, averaged over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.evaluation.per_image import FullReferenceMetric, check_sides, to_unit
from sde_edit.evaluation.weights import package
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor

_LEAST_SIDE = 6  # of which 5 pixels can be reflected, half of the window


@plugin
@dataclass(frozen=True)
class Ssim(FullReferenceMetric):
    """Wang et al. 2004 with its Gaussian window (11 pixels, sigma 1.5), on RGB.

    signed: use values in [-1, 1] with data range 2 instead of [0, 1] with range 1. The means that
    SSIM compares differ then, and unrelated images score near 0 instead of near 0.2.

    tolerance: the window's variances are differences of means of squares in float32, so their
    errors of 2^-24 are divided by the constant 9e-4 that is added to them: 2^-14 in a flat window.
    Over the 256 and more windows of an image they average out to a sixteenth, 2^-18.
    """

    signed: bool = False

    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = papers.WANG2004SSIM
    higher_is_better: ClassVar[bool] = True
    tolerance: ClassVar[float] = 2.0**-18

    def convention(self) -> str:
        values = "[-1, 1], data range 2" if self.signed else "[0, 1], data range 1"
        return (
            f"SSIM per image against {self._compared_with}, {package('torchmetrics')}, Gaussian "
            f"window 11, sigma 1.5, RGB in {values}, borders reflected, native size, float32"
        )

    def check(self, example: Example) -> None:
        check_sides(example, _LEAST_SIDE, "SSIM")

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        from torchmetrics.functional.image import structural_similarity_index_measure

        # In float64 the convolution takes 30 times as long and changes the value by 3e-7.
        scale = 2 if self.signed else 1
        shift = scale - 1
        values = structural_similarity_index_measure(
            to_unit(images_BHWC.cpu()).float() * scale - shift,
            to_unit(self._references(examples)).float() * scale - shift,
            sigma=1.5,
            kernel_size=11,
            data_range=float(scale),
            reduction="none",
        )
        assert isinstance(values, torch.Tensor)
        return values.double().reshape(-1, 1)
