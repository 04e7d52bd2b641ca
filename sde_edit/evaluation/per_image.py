"""Bases of the metrics with a value per image, and the references of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from sde_edit.api.example import Example
from sde_edit.api.metric import Metric
from sde_edit.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.api.example import Pixels

# ------------------------------------------------------------------ accuracy
# Relative error of a mean of at most 2^24 values in float64, whose unit roundoff is 2^-53, in
# whatever order they are added. It is the absolute one too, as values of pixels are at most 1.
PIXEL_ERROR = 2.0**-29
# Relative error of a network's features in float32, whose unit roundoff is 2^-24: its layers make
# it sixteen times as large. Between batches of 1 and of 64 it is 3e-7 for the embedded recogniser.
FEATURE_ERROR = 2.0**-20


# ------------------------------------------------------------------ images
Against = Literal["truth", "source"]


def reference(example: Example, against: Against = "truth") -> Pixels:
    """The image that an output is compared with.

    against: `truth` means the truth where it is known, else the source image; `source` always means
    the source image.
    """
    return example.image if example.truth is None or against == "source" else example.truth


def references(examples: Sequence[Example], against: Against = "truth") -> Tensor:
    """The references of a batch, uint8 [B, H, W, 3]."""
    return torch.from_numpy(np.stack([reference(example, against) for example in examples]))


def distribution_references(examples: Sequence[Example]) -> list[Pixels]:
    """Samples of the distribution that the outputs should follow, each of its own size."""
    return [reference(e) if e.reference is None else e.reference for e in examples]


def check_sides(example: Example, least: int, what: str) -> None:
    """Raises UserError if the image is smaller than `what` can measure."""
    height, width = example.image.shape[:2]
    if min(height, width) < least:
        raise UserError(
            f"{what} needs sides of {least} pixels, and example {example.id!r} is {width}x{height}"
        )


def to_unit(images_BHWC: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] -> float64 [B, 3, H, W] in [0, 1]."""
    return images_BHWC.permute(0, 3, 1, 2).double() / 255


def to_signed(images_BHWC: Tensor, device: torch.device) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [-1, 1]."""
    return images_BHWC.to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def check_caption(example: Example) -> None:
    """Raises UserError if no text says what the output should show."""
    if not example.prompt:
        raise UserError(f"example {example.id!r} has no caption to compare the image with")


def captions(examples: Sequence[Example]) -> list[str]:
    """The captions of the outputs."""
    return [example.prompt for example in examples]


# ------------------------------------------------------------------ scores that are means
class PerImageMetric(Metric):
    """Base of the metrics with one value per image, whose score is the mean over images."""

    def aggregate(self, rows_ND: Tensor, counts_BN: Tensor) -> Tensor:
        """Means [B] of the values rows_ND [N, 1], where example n counts counts_BN[b, n] times."""
        return (counts_BN @ rows_ND)[:, 0] / counts_BN.sum(1)


@dataclass(frozen=True)
class FullReferenceMetric(PerImageMetric):
    """Base of the metrics that compare an output with one reference image.

    against: `truth` compares with the truth where it is known, else with the source image;
    `source` always compares with the source image and so measures how far the edit changed it.
    """

    against: Against = "truth"

    def _references(self, examples: Sequence[Example]) -> Tensor:
        """The references of a batch: uint8 [B, H, W, 3]."""
        return references(examples, self.against)

    @property
    def _compared_with(self) -> str:
        """The reference, as text for a metric's convention."""
        return "the reference" if self.against == "truth" else "the source image"
