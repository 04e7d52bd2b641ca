"""Another metric on images that are black outside the region of the edit, or inside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.api.metric import Metric
from sde_edit.errors import UserError
from sde_edit.evaluation.per_image import PerImageMetric
from sde_edit.registry import build, plugin

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.api.example import Pixels

Region = Literal["background", "edited"]
_Kept = NDArray[np.bool_]


@plugin
@dataclass(frozen=True)
class Masked(Metric):
    """Ju et al. 2024 (PIE-Bench): images are multiplied by a mask and measured over the full frame.

    of: the metric, as `kind` and settings; it must have a value per image.
    region: what stays; the rest becomes black. `edited` is mask > 0.5 and, against errors of
    annotation, the outermost pixels; `background` is the rest.

    An example of which nothing stays has no value and is left out of the mean.
    """

    of: Mapping[str, Any]
    region: Region

    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = papers.JU2024PNP

    def __post_init__(self) -> None:
        if not isinstance(self._metric, PerImageMetric):
            raise UserError(
                f"of.kind={self.of['kind']}: has no value for each image, which could be left out "
                "of the mean; give one that has, such as psnr"
            )

    @cached_property
    def _metric(self) -> Metric:
        if "kind" not in self.of:
            raise UserError("of.kind: must be given, such as of: {kind: psnr, against: source}")
        settings = {key: value for key, value in self.of.items() if key != "kind"}
        built: Metric = build("metrics", self.of["kind"], settings, under="of.")
        return built

    @property
    def higher_is_better(self) -> bool:
        return self._metric.higher_is_better

    @property
    def tolerance(self) -> float:
        return self._metric.tolerance

    def convention(self) -> str:
        edited = "mask > 0.5 and the outermost pixels"
        black = edited if self.region == "background" else f"all but {edited}"
        return (
            f"{self.of['kind']} {self._metric.version}: {self._metric.convention()}; {black} black "
            "in every image; mean over the images of which something stays"
        )

    def check(self, example: Example) -> None:
        if example.mask is None:
            raise UserError(f"example {example.id!r} has no mask")
        self._metric.check(example)

    def left_out(self, example: Example) -> str:
        if self._kept(example).any():
            return ""
        return f"the mask of example {example.id!r} leaves no {self.region} pixel"

    def fetch(self) -> None:
        self._metric.fetch()

    def load(self, device: str) -> None:
        self._metric.load(device)

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        """[B, 2]: the value, or 0 where there is none, and the number of values, 1 or 0."""
        kept_BHW = np.stack([self._kept(example) for example in examples])
        outputs = images_BHWC.cpu() * torch.from_numpy(kept_BHW)[..., None]
        masked = [_masked(e, kept) for e, kept in zip(examples, kept_BHW, strict=True)]
        has_value_B1 = torch.from_numpy(kept_BHW.any((1, 2)))[:, None].double()
        values_B1 = self._metric.measure(outputs, masked)
        return torch.cat([values_B1 * has_value_B1, has_value_B1], dim=1)

    def aggregate(self, rows_ND: Tensor, counts_BN: Tensor) -> Tensor:
        """Means [B] over the examples that have a value; over all of them where none is drawn.

        Raises UserError if no example has a value.
        """
        if not rows_ND[:, 1].any():
            raise UserError(f"the masks leave no {self.region} pixel in any example")
        sums_B2 = counts_BN @ rows_ND
        mean = rows_ND[:, 0].sum() / rows_ND[:, 1].sum()
        return torch.where(sums_B2[:, 1] > 0, sums_B2[:, 0] / sums_B2[:, 1], mean)

    def per_example(self, rows_ND: Tensor) -> Tensor:
        """Float64 [N], NaN where there is no value."""
        return rows_ND[:, 0] / rows_ND[:, 1]

    def _kept(self, example: Example) -> _Kept:
        """The pixels that stay, [H, W]."""
        assert example.mask is not None
        edited: _Kept = np.pad(example.mask[1:-1, 1:-1] > 0.5, 1, constant_values=True)
        return edited if self.region == "edited" else ~edited


def _masked(example: Example, kept_HW: _Kept) -> Example:
    def black(image: Pixels) -> Pixels:
        return image * kept_HW[..., None]

    truth = None if example.truth is None else black(example.truth)
    return replace(example, image=black(example.image), truth=truth)
