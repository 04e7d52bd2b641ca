"""Kernel distance between the features of outputs and of references (KID).

Letters: N examples, D features, B resamplings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.errors import UserError
from sde_edit.evaluation.distributions import DistributionMetric
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 1024  # rows of the N x N kernel matrix that are in memory at once


def _kernel(inner: Tensor, features: int) -> Tensor:
    return (inner / features + 1) ** 3


def _pair_sums(x_ND: Tensor, y_ND: Tensor, counts_BN: Tensor) -> Tensor:
    """Sums [B] of k(x_i, y_j) over all pairs of weighted rows."""
    sums_B = counts_BN.new_zeros(len(counts_BN))
    for start in range(0, len(x_ND), _BLOCK):
        block = slice(start, start + _BLOCK)
        kernel = _kernel(x_ND[block] @ y_ND.T, x_ND.shape[1])
        sums_B += ((counts_BN[:, block] @ kernel) * counts_BN).sum(1)
    return sums_B


def _distinct_pair_sums(x_ND: Tensor, counts_BN: Tensor) -> Tensor:
    """Sums [B] of k(x_i, x_j) over pairs i != j of weighted rows."""
    itself_N = _kernel(x_ND.square().sum(1), x_ND.shape[1])
    return _pair_sums(x_ND, x_ND, counts_BN) - counts_BN @ itself_N


def kernel_distance(x_ND: Tensor, y_ND: Tensor, counts_BN: Tensor) -> Tensor:
    """Unbiased MMD^2 with k(x, y) = (x.y / D + 1)^3 (Bińkowski et al. 2018), one value per b.

    It is the estimator of Gretton et al. 2012, Eq. 3, over all rows, and can be negative.
    """
    n_B = counts_BN.sum(1)
    within = _distinct_pair_sums(x_ND, counts_BN) + _distinct_pair_sums(y_ND, counts_BN)
    return within / (n_B * (n_B - 1)) - 2 * _pair_sums(x_ND, y_ND, counts_BN) / n_B**2


@plugin
@dataclass(frozen=True)
class KernelDistance(DistributionMetric):
    """KID if the extractor is an Inception. All resamplings share one pass over the kernel.

    tolerance: the value d is a squared distance of means of vectors of norm sqrt(k(x, x)), about 8.
    Relative errors of 2^-20 in the features are up to three times that in the vectors. In both sets
    they move the distance by at most 2^-14 if all images err alike, and by an eighth of that if 64
    images err independently. So d moves by 2^-16 sqrt(d), which below d = 1 is within 2^-16.
    """

    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = papers.BINKOWSKI2018MMD
    higher_is_better: ClassVar[bool] = False
    tolerance: ClassVar[float] = 2.0**-16

    def convention(self) -> str:
        return (
            f"kernel distance (MMD^2, not x1000), outputs against references; "
            f"{self._features.describe()}; kernel (x.y/D + 1)^3, unbiased estimator over all "
            "images at once (no subsets), float64"
        )

    def aggregate(self, rows_ND: Tensor, counts_BN: Tensor) -> Tensor:
        """Raises UserError for fewer than two images."""
        if len(rows_ND) < 2:
            raise UserError("the kernel distance needs two images or more")
        x_ND, y_ND = rows_ND.chunk(2, dim=1)
        return kernel_distance(x_ND, y_ND, counts_BN)
