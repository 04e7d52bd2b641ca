"""Uncalibrated perceptual distance like LPIPS, with features of the embedded recogniser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from sde_edit.api.example import Example
from sde_edit.evaluation.per_image import FEATURE_ERROR, FullReferenceMetric
from sde_edit.evaluation.recognition import RecogniserMetric, recogniser_note
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


def _stage_distance(x_BCHW: Tensor, y_BCHW: Tensor) -> Tensor:
    """Squared distance [B] of normalised channel vectors, averaged over positions."""
    return (
        (
            torch.nn.functional.normalize(x_BCHW, dim=1)
            - torch.nn.functional.normalize(y_BCHW, dim=1)
        )
        .square()
        .sum(1)
        .mean((1, 2))
    )


@plugin
@dataclass(frozen=True)
class ShapesPerceptual(FullReferenceMetric, RecogniserMetric):
    """For the shapes world only. It is not fitted to human judgement: do not report it as LPIPS.

    tolerance: as that of `lpips`.
    """

    version: ClassVar[int] = 1
    higher_is_better: ClassVar[bool] = False
    tolerance: ClassVar[float] = FEATURE_ERROR

    def convention(self) -> str:
        return (
            f"perceptual distance per image against {self._compared_with}, uncalibrated (not "
            f"LPIPS); {recogniser_note()}; unit channel vectors, squared differences averaged over "
            "places, then over the four stages; native size"
        )

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        with torch.inference_mode():
            outputs = self._recogniser.maps(images_BHWC)
            targets = self._recogniser.maps(self._references(examples))
            stages = [_stage_distance(x, y) for x, y in zip(outputs, targets, strict=True)]
            return torch.stack(stages).mean(0)[:, None].double().cpu()
