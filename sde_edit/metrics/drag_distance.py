"""Distance from where the content of a dragged point is found to its target, in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.api.metric import Metric
from sde_edit.diffusion.noise import Noise
from sde_edit.errors import UserError
from sde_edit.evaluation.per_image import PIXEL_ERROR, references
from sde_edit.evaluation.weights import reading
from sde_edit.networks.dift import Dift, Layer, corresponding
from sde_edit.registry import UNLESS_DEFAULT, plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class DragDistance(Metric):
    """Mean over all points of all images (DragDiffusion, Shi et al. 2023, Sec. 5), with DIFT.

    path: the model whose features are matched: a folder in diffusers layout, a hub id, or
    `embedded:shapes`.
    t: training time step at which features are taken.
    block: up block that provides them, 0 the lowest.
    ensemble: number of noise draws.
    within: where in the output the content is sought: in the whole image, or where the mask lets
    it change (m-MD, mean distance within the mask); the whole image where there is no mask.

    Output and source image get the same noise, so unedited content is found where it was.
    tolerance: distances are below 2^12 pixels, and their mean has the relative error of one of
    pixel values. No tolerance covers a tie of two places that rounding decides.
    """

    path: str
    t: int = 261
    block: int = 1
    ensemble: int = 8
    within: Literal["image", "mask"] = field(default="image", metadata={"identity": UNLESS_DEFAULT})

    version: ClassVar[int] = 2
    citation: ClassVar[Citation | None] = papers.TANG2023DIFT
    higher_is_better: ClassVar[bool] = False
    tolerance: ClassVar[float] = 2**12 * PIXEL_ERROR

    def __post_init__(self) -> None:
        if self.t < 0 or self.block < 0 or self.ensemble < 1:
            given = f"t={self.t}, block={self.block}, ensemble={self.ensemble}"
            raise UserError(f"drag_distance with {given}: t and block from 0, ensemble from 1")

    @cached_property
    def _features(self) -> Dift:
        return Dift(self.path, Layer(self.t, self.block, self.ensemble))

    def convention(self) -> str:
        places = "all places" if self.within == "image" else "the places with mask > 0.5, if any"
        return (
            "distance in pixels from the target to the place of the output whose features are "
            f"most like those of the source point, by cosine over {places}; mean over the points "
            f"of all images; {self._features.describe()}; the same noise for output and source "
            "image; features brought to the images' size by bilinear interpolation; borders "
            "repeated to whole cells"
        )

    def fetch(self) -> None:
        self._features.fetch()

    def load(self, device: str) -> None:
        with reading(Path(self.path), "Fetch the folder again"):
            self._features.load(device)

    def check(self, example: Example) -> None:
        if not example.drags:
            raise UserError(f"example {example.id!r} has no drags")
        among = self._among(example)
        if among is not None and not among.any():
            raise UserError(f"the mask of example {example.id!r} leaves no place to seek content")

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        """[B, 2]: the sum of the distances of an image's points, and the number of points."""
        noise = Noise(0, tuple(example.id for example in examples))
        prompts = [example.caption for example in examples]
        sources = self._features(references(examples, "source"), prompts, noise)
        outputs = self._features(images_BHWC, prompts, noise)
        rows = [self._row(*three) for three in zip(examples, sources, outputs, strict=True)]
        return torch.tensor(rows, dtype=torch.float64)

    def aggregate(self, rows_ND: Tensor, counts_BN: Tensor) -> Tensor:
        """Sums of distances divided by numbers of points [B]."""
        sums_B2 = counts_BN @ rows_ND
        return sums_B2[:, 0] / sums_B2[:, 1]

    def per_example(self, rows_ND: Tensor) -> Tensor:
        """Means over the points of each image [N]."""
        return rows_ND[:, 0] / rows_ND[:, 1]

    def _row(self, example: Example, source_Chw: Tensor, output_Chw: Tensor) -> tuple[float, int]:
        """The sum and the number of the distances. A point counts as the pixel that it lies in."""
        points, size = [drag.source for drag in example.drags], example.image.shape[:2]
        among = self._among(example)
        found = corresponding(source_Chw, output_Chw, points, (size[0], size[1]), among)
        targets = [(int(drag.target[0]), int(drag.target[1])) for drag in example.drags]
        return sum(map(math.dist, found, targets)), len(targets)

    def _among(self, example: Example) -> Tensor | None:
        """Where the content is sought, bool [H, W]; None for everywhere."""
        if self.within == "image" or example.mask is None:
            return None
        return torch.from_numpy(example.mask > 0.5)
