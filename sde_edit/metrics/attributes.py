"""Share of images in which the recogniser sees the same things and background as in the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from sde_edit.api.example import Example
from sde_edit.evaluation.per_image import references
from sde_edit.evaluation.recognition import RecogniserMetric, check_known, recogniser_note
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.networks.recogniser import Seen

_AS_IN_THE_REFERENCE = {
    "all": "named exactly as their reference: all (shape, colour) pairs and the background",
    "shape": "whose set of shapes is named as their reference's",
    "colour": "whose set of colours of things is named as their reference's",
    "background": "whose background is named as their reference's",
}


@plugin
@dataclass(frozen=True)
class Attributes(RecogniserMetric):
    """1 if the recogniser names the compared parts alike in output and reference, else 0.

    part: `all` compares the (shape, colour) pairs and the background; `shape`, `colour` and
    `background` only the shapes, the colours of objects, or the background.

    tolerance: a share is a quotient of two whole numbers, rounded once.
    """

    part: Literal["all", "shape", "colour", "background"] = "all"

    version: ClassVar[int] = 1
    higher_is_better: ClassVar[bool] = True
    tolerance: ClassVar[float] = 2.0**-53

    def convention(self) -> str:
        return (
            f"share of images {_AS_IN_THE_REFERENCE[self.part]}; "
            f"both named by the {recogniser_note()}; native size"
        )

    def check(self, example: Example) -> None:
        super().check(example)
        check_known(example)

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        with torch.inference_mode():
            seen = self._recogniser.names(images_BHWC)
            right = self._recogniser.names(references(examples))
            same = [
                self._compared(a) == self._compared(b) for a, b in zip(seen, right, strict=True)
            ]
            return torch.tensor(same, dtype=torch.float64)[:, None]

    def _compared(self, seen: Seen) -> object:
        things, background = seen
        parts = {
            "all": seen,
            "shape": {shape for shape, _ in things},
            "colour": {colour for _, colour in things},
            "background": background,
        }
        return parts[self.part]
