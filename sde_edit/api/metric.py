"""What a metric owes, and what a score is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sde_edit.api.example import Example
from sde_edit.api.spec import ComponentSpec

if TYPE_CHECKING:
    from torch import Tensor


def centred_interval(value: float, replicates: NDArray[np.float64]) -> tuple[float, float]:
    """95 %: the value plus the quantiles of its bootstrap replicates about their mean.

    Centred, because resampling biases a distance of distributions upwards.
    """
    low, high = np.quantile(replicates - replicates.mean(), [0.025, 0.975])
    return value + float(low), value + float(high)


@dataclass(frozen=True)
class Score:
    """A metric over a run.

    replicates: the value under bootstrap resamplings of the examples. Resampling b draws the same
    examples for every run with the same ids, so differences of replicates are paired.
    per_example: id -> value, for metrics that have a value for each image.
    """

    value: float
    low: float
    high: float
    n: int
    replicates: Sequence[float]
    per_example: Mapping[str, float] | None = None


class Metric(Protocol):
    """One score. `rows` measures a batch; `statistic` turns all rows into the value."""

    @property
    def higher_is_better(self) -> bool: ...

    @property
    def resamplings(self) -> int:
        """How often the examples are resampled for its interval."""

    def convention(self) -> str:
        """Library, mode, extractor, weights, sizes and ranges: all that the number depends on."""

    def fetch(self) -> None:
        """Have the weights on this machine. Raises UserError with the remedy if that fails."""

    def load(self, device: str) -> None:
        """Fetch and load weights. Raises UserError with the remedy when they cannot be had."""

    def rows(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        """Float64 [B, D] for uint8 outputs and their examples; D = 1 for a value per image."""

    def statistic(self, rows_ND: Tensor, counts_BN: Tensor) -> Tensor:
        """Float64 values [B], one for each way of counting example n counts_BN[b, n] times."""


@runtime_checkable
class Pooled(Metric, Protocol):
    """A metric that has a value for each image all the same, of which its own is no plain mean."""

    def each(self, rows_ND: Tensor) -> Tensor:
        """Float64 [N]: the value of each example by itself."""


@dataclass(frozen=True)
class NamedMetric:
    """A metric as tables name it; `choice.params` holds all its settings."""

    choice: ComponentSpec
    metric: Metric
