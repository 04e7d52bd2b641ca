"""Share of images in which the recogniser sees the same things and background as in the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sde_edit.features import (
    ByRecogniser,
    recogniser_note,
    references,
)
from sde_edit.registry import plugin
from sde_edit.types import Example


@plugin
@dataclass(frozen=True)
class Attributes(ByRecogniser):
    """1 where every (shape, colour) pair and the background are named alike, else 0."""

    version: ClassVar[int] = 1
    higher_is_better: ClassVar[bool] = True

    def convention(self) -> str:
        return (
            "share of images named exactly as their reference: all (shape, colour) pairs and the "
            f"background; both named by the {recogniser_note()}; native size"
        )

    @torch.inference_mode()
    def rows(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        seen = self._network.recognise(self._input(images_BHWC))
        right = self._network.recognise(self._input(references(examples)))
        same = [a == b for a, b in zip(seen, right, strict=True)]
        return torch.tensor(same, dtype=torch.float64)[:, None]
