"""Mean squared error over pixels that the true edit leaves unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.evaluation.per_image import (
    PIXEL_ERROR,
    PerImageMetric,
    reference,
    references,
    to_unit,
)
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class KeptError(PerImageMetric):
    """The counterpart of the metric `known_error` for edits without a mask.

    tolerance: that of a mean over pixels.
    """

    version: ClassVar[int] = 1
    higher_is_better: ClassVar[bool] = False
    tolerance: ClassVar[float] = PIXEL_ERROR

    def convention(self) -> str:
        return (
            "mean squared error per image against the reference over the pixels in which it equals "
            "the source image and over channels, RGB in [0, 1], native size"
        )

    def check(self, example: Example) -> None:
        """The true edit must leave a pixel as it was."""
        if not (reference(example) == example.image).all(-1).any():
            raise UserError(f"in example {example.id!r} the truth leaves no pixel as it was")

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        right = references(examples)
        sources = torch.from_numpy(np.stack([example.image for example in examples]))
        stays_BHW = (right == sources).all(-1)
        error_BHW = (to_unit(images_BHWC.cpu()) - to_unit(right)).square().mean(1)
        return ((error_BHW * stays_BHW).sum((1, 2)) / stays_BHW.sum((1, 2)))[:, None]
