"""Cosine similarity of image and caption by the embedded recogniser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from sde_edit.api.example import Example
from sde_edit.evaluation.per_image import FEATURE_ERROR, captions, check_caption
from sde_edit.evaluation.recognition import (
    RecogniserMetric,
    check_known,
    recogniser_note,
    shapes_folder,
)
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class ShapesClip(RecogniserMetric):
    """For the shapes world only. Its scale differs from that of a CLIP for photos.

    tolerance: an error e of either unit vector moves their product by at most e.
    """

    version: ClassVar[int] = 1
    higher_is_better: ClassVar[bool] = True
    tolerance: ClassVar[float] = 2 * FEATURE_ERROR

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import CLIPTokenizer

        return CLIPTokenizer.from_pretrained(shapes_folder("tokenizer"))

    def convention(self) -> str:
        return (
            f"cosine of image and caption embeddings per image (not CLIP); {recogniser_note()}; "
            "native size"
        )

    def fetch(self) -> None:
        super().fetch()
        shapes_folder("tokenizer")

    def load(self, device: str) -> None:
        super().load(device)
        _ = self._tokenizer

    def check(self, example: Example) -> None:
        super().check(example)
        check_caption(example)
        check_known(example)

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        with torch.inference_mode():
            ids_BK = self._tokens(captions(examples)).to(self._recogniser.device)
            image = self._recogniser.embed(images_BHWC)
            text = self._recogniser.network.embed_text(ids_BK)
            return (image * text).sum(1, keepdim=True).double().cpu()

    def _tokens(self, texts: list[str]) -> Tensor:
        encoded = self._tokenizer(
            texts,
            padding="max_length",
            max_length=self._recogniser.network.config.max_tokens,
            truncation=True,
            return_tensors="pt",
        )
        ids_BK: Tensor = encoded.input_ids
        return ids_BK
