"""Image fidelity of dragging papers: 1 minus the LPIPS distance from the source image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.api.metric import Metric
from sde_edit.evaluation.per_image import FEATURE_ERROR, PerImageMetric
from sde_edit.registry import build, plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class ImageFidelity(PerImageMetric):
    """Shi et al. 2024 (DragDiffusion), Sec. 5; 1 for an edit that changes nothing.

    net: the backbone of LPIPS, version 0.1.

    tolerance: as that of `lpips`.
    """

    net: Literal["alex", "vgg", "squeeze"] = "alex"

    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = papers.SHI2024DRAGDIFFUSION
    higher_is_better: ClassVar[bool] = True
    tolerance: ClassVar[float] = FEATURE_ERROR

    @cached_property
    def _lpips(self) -> Metric:
        built: Metric = build("metrics", "lpips", {"net": self.net, "against": "source"})
        return built

    def convention(self) -> str:
        return f"1 - lpips {self._lpips.version}: {self._lpips.convention()}"

    def fetch(self) -> None:
        self._lpips.fetch()

    def load(self, device: str) -> None:
        self._lpips.load(device)

    def check(self, example: Example) -> None:
        self._lpips.check(example)

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        return 1 - self._lpips.measure(images_BHWC, examples)
