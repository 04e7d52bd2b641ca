"""Structure distance: how far the self-similarity of DINO's keys has moved from the source's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.evaluation.per_image import FEATURE_ERROR, PerImageMetric, references
from sde_edit.evaluation.weights import reading
from sde_edit.networks.dino import SIDE, Dino
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor

# Of ImageNet in [0, 1]. The published code applies them to values of 0 to 255, and so do we.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@plugin
@dataclass(frozen=True)
class Structure(PerImageMetric):
    """Tumanyan et al. 2022, as PIE-Bench's code computes it; tables print it times 1000.

    path: a folder with the weights of a ViT in timm's form, or a hub id.

    tolerance: an error e of unit vectors moves a difference d of cosines by 4 e, and its square by
    8 e d. Where the mean of d^2 is above 1/4 that is within 2^-16 of it, and below within 2^-18.
    """

    path: str

    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = papers.TUMANYAN2022SPLICE
    higher_is_better: ClassVar[bool] = False
    tolerance: ClassVar[float] = 4 * FEATURE_ERROR

    @cached_property
    def _features(self) -> Dino:
        return Dino(self.path)

    def convention(self) -> str:
        return (
            "structure distance per image against the source image: mean squared difference of "
            "the cosines of all pairs of tokens, by the keys of the last layer, all heads "
            f"together; {self._features.describe()}, timm {version('timm')}; {SIDE}x{SIDE} by "
            "bilinear interpolation without antialiasing; values of 0 to 255 normalised with "
            "ImageNet's statistics of [0, 1], as published; float32"
        )

    def fetch(self) -> None:
        self._features.fetch()

    def load(self, device: str) -> None:
        with reading(Path(self.path), "Fetch the weights again"):
            self._features.load(device)

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        after, before = map(self._similarity, (images_BHWC, references(examples, "source")))
        return (after - before).square().mean((1, 2)).double()[:, None].cpu()

    def _similarity(self, images_BHWC: Tensor) -> Tensor:
        """The cosines of the keys of all pairs of tokens [B, T, T]."""
        x_B3HW = images_BHWC.permute(0, 3, 1, 2).float()
        x_B3HW = torch.nn.functional.interpolate(
            x_B3HW, (SIDE, SIDE), mode="bilinear", align_corners=False
        )
        mean, deviation = (torch.tensor(of, device=x_B3HW.device) for of in (_MEAN, _DEVIATION))
        normalised = (x_B3HW - mean[:, None, None]) / deviation[:, None, None]
        keys_BTC = torch.nn.functional.normalize(self._features.keys(normalised), dim=-1)
        return keys_BTC @ keys_BTC.mT
