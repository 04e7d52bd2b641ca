"""Mean squared error inside the mask (generated content) or outside it (known content)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch

from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.evaluation.per_image import PIXEL_ERROR, PerImageMetric, references, to_unit
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class MaskedError(PerImageMetric):
    """region: `hidden` is mask > 0.5, the region to generate; `known` is the rest.

    tolerance: that of a mean over pixels.
    """

    region: Literal["hidden", "known"] = "hidden"

    version: ClassVar[int] = 1
    higher_is_better: ClassVar[bool] = False
    tolerance: ClassVar[float] = PIXEL_ERROR

    def convention(self) -> str:
        where = "mask > 0.5" if self.region == "hidden" else "mask <= 0.5"
        return (
            f"mean squared error per image against the reference over pixels with {where} and "
            "channels, RGB in [0, 1], native size"
        )

    def check(self, example: Example) -> None:
        """It needs a mask, and a pixel in the region."""
        self._region(example)

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        inside = torch.from_numpy(np.stack([self._region(example) for example in examples]))
        difference = to_unit(images_BHWC.cpu()) - to_unit(references(examples))
        error_BHW = difference.square().mean(1)
        return ((error_BHW * inside).sum((1, 2)) / inside.sum((1, 2)))[:, None]

    def _region(self, example: Example) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        if example.mask is None:
            raise UserError(f"example {example.id!r} has no mask")
        hidden = example.mask > 0.5
        inside = hidden if self.region == "hidden" else ~hidden
        if not inside.any():
            raise UserError(f"the mask of example {example.id!r} leaves no {self.region} pixel")
        return inside
