"""Fréchet distance between the features of outputs and of references (FID).

Letters: N examples, D features, B resamplings, K <= min(N, D) rows of a factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.errors import UserError
from sde_edit.evaluation.distributions import DistributionMetric
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


def _moments(x_ND: Tensor, counts_N: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and a factor F [K, D] of the unbiased covariance F^T F of weighted rows."""
    n, seen = counts_N.sum(), counts_N > 0
    mean_D = counts_N @ x_ND / n
    factor = (counts_N[seen] / (n - 1)).sqrt()[:, None] * (x_ND[seen] - mean_D)
    if len(factor) > factor.shape[1]:
        factor = torch.linalg.qr(factor, mode="r").R
    return mean_D, factor


def frechet_distance(x_ND: Tensor, y_ND: Tensor, counts_N: Tensor) -> Tensor:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), Heusel et al. 2017, Eq. 6. Float64 scalar.

    With S = F^T F, tr (S1 S2)^(1/2) is the sum of the singular values of F1 F2^T, which are the
    square roots of the eigenvalues of S1 S2. No matrix inverse or root is needed, so it holds for
    N < D and for singular covariances.
    """
    mean_x, factor_x = _moments(x_ND, counts_N)
    mean_y, factor_y = _moments(y_ND, counts_N)
    cross = torch.linalg.svdvals(factor_x @ factor_y.T).sum()
    spread = factor_x.square().sum() + factor_y.square().sum() - 2 * cross
    distance: Tensor = (mean_x - mean_y).square().sum() + spread
    return distance.clamp_min(0)  # for equal sets, rounding gives either sign


@plugin
@dataclass(frozen=True)
class Frechet(DistributionMetric):
    """FID if the extractor is an Inception. Each resampling of 2048 features takes seconds.

    tolerance: the value d is a squared distance. Relative errors of 2^-20 in features of norm 32,
    in both sets, move its root by 2^-14 if all images err alike, and by an eighth of that if 64 err
    independently. So d moves by 2^-16 sqrt(d), which below d = 1 is within 2^-16.
    """

    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = papers.HEUSEL2017TTUR
    higher_is_better: ClassVar[bool] = False
    tolerance: ClassVar[float] = 2.0**-16

    def convention(self) -> str:
        return (
            f"Fréchet distance, outputs against references; {self._features.describe()}; "
            "statistics in float64, covariance over n - 1, matrix root by singular values"
        )

    def aggregate(self, rows_ND: Tensor, counts_BN: Tensor) -> Tensor:
        """Raises UserError for fewer than two images."""
        if len(rows_ND) < 2:
            raise UserError("the Fréchet distance needs two images or more")
        x_ND, y_ND = rows_ND.chunk(2, dim=1)
        return torch.stack([frechet_distance(x_ND, y_ND, counts_N) for counts_N in counts_BN])
