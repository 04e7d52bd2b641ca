"""Cosine similarity of output and source image by the embedded recogniser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from sde_edit.api.example import Example
from sde_edit.evaluation.per_image import FEATURE_ERROR, references
from sde_edit.evaluation.recognition import RecogniserMetric, recogniser_note
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class ShapesSimilarity(RecogniserMetric):
    """For the shapes world only: the counterpart of `source_clip`, on a scale of its own.

    tolerance: an error e of either unit vector moves their product by at most e.
    """

    version: ClassVar[int] = 1
    higher_is_better: ClassVar[bool] = True
    tolerance: ClassVar[float] = 2 * FEATURE_ERROR

    def convention(self) -> str:
        return (
            "cosine of image embeddings of output and source image per image (not CLIP); "
            f"{recogniser_note()}; native size"
        )

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        with torch.inference_mode():
            outputs = self._recogniser.embed(images_BHWC)
            sources = self._recogniser.embed(references(examples, "source"))
            return (outputs * sources).sum(1, keepdim=True).double().cpu()
