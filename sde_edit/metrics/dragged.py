"""Share of images in which a dragged object is at its target, or still at its source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.evaluation.per_image import PerImageMetric, reference
from sde_edit.imaging.foreground import THRESHOLD, check_plane, foreground
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.api.example import Pixels


@plugin
@dataclass(frozen=True)
class Dragged(PerImageMetric):
    """For the shapes world only: 1 or 0, from the rendered image and truth.

    place   target: the pixels that the object covers only in the truth; 1 if more than half of them
            are nearer to the truth (the object) than to the image (the background)
            source: the pixels that the object covers only in the image; 1 if more than half of them
            are nearer to the image (the object) than to the truth (the background)

    Colours are compared pixel by pixel, so there is no threshold on the output.
    tolerance: a share is a quotient of two whole numbers, rounded once.
    """

    place: Literal["target", "source"] = "target"

    version: ClassVar[int] = 1
    tolerance: ClassVar[float] = 2.0**-53

    @property
    def higher_is_better(self) -> bool:
        return self.place == "target"

    def convention(self) -> str:
        where, like, other = {
            "target": ("newly covers in the reference", "reference", "source image"),
            "source": ("has left in the reference", "source image", "reference"),
        }[self.place]
        return (
            f"share of images in which, of the pixels that a thing {where}, more than half are "
            f"nearer in RGB to the {like} than to the {other}; things: more than {THRESHOLD} "
            "levels from a plane fitted to the border of the rendered image; native size"
        )

    def check(self, example: Example) -> None:
        """Objects must stand out from a plain background."""
        check_plane(example)

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        """Raises UserError naming an example in which no thing moves."""
        outputs = images_BHWC.cpu().numpy()
        found = [self._shows(image, e) for image, e in zip(outputs, examples, strict=True)]
        return torch.tensor(found, dtype=torch.float64)[:, None]

    def _shows(self, output: Pixels, example: Example) -> bool:
        before, after = example.image, reference(example)
        was, is_now = foreground(before), foreground(after)
        pixels = is_now & ~was if self.place == "target" else was & ~is_now
        if not pixels.any():
            raise UserError(f"no thing moves from the image of example {example.id!r} to its truth")
        to_before, to_after = _distance(output, before), _distance(output, after)
        alike = to_after < to_before if self.place == "target" else to_before < to_after
        return bool(alike[pixels].mean() > 0.5)


def _distance(x: Pixels, y: Pixels) -> NDArray[np.int64]:
    """Squared distance in RGB of each pixel [H, W]."""
    squared: NDArray[np.int64] = ((x.astype(np.int64) - y) ** 2).sum(axis=-1)
    return squared
