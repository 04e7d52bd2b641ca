"""The interface of metrics, and the score that a run gets from one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.api.interface import refuse_unknown_names
from sde_edit.api.spec import ComponentSpec
from sde_edit.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def centred_interval(value: float, replicates: ArrayLike) -> tuple[float, float]:
    """95 % interval (low, high): the value plus the quantiles of its centred replicates [B].

    The bootstrap replicates are centred because resampling biases distances between distributions
    upwards.
    """
    values = np.asarray(replicates, dtype=np.float64)
    low, high = np.quantile(values - values.mean(), [0.025, 0.975])
    return value + float(low), value + float(high)


@dataclass(frozen=True)
class Score:
    """The value of a metric over a sealed run. Its fields are the keys of the stored JSON.

    metric: its name in tables. kind, version and settings: of its plug-in.
    seal: the digest of the images that were measured.
    low, high: 95 % interval. n: number of images.
    replicates: the value under bootstrap resamplings of the examples. Resampling b draws the same
    examples for every run with the same ids, so differences of replicates are paired.
    per_example: id -> value, for metrics that have a value for each image. An example for which the
    metric is not defined is left out, here and in the value.
    seconds: the time that measuring and scoring took.
    tolerance: of its plug-in; 0 in old scores.
    """

    metric: str
    kind: str
    version: int
    settings: Mapping[str, Any]
    convention: str
    higher_is_better: bool
    seal: str
    value: float
    low: float
    high: float
    n: int
    replicates: Sequence[float]
    per_example: Mapping[str, float] | None = None
    seconds: float = 0.0
    tolerance: float = 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """`low` and `high`."""
        return self.low, self.high

    @property
    def valued(self) -> int:
        """The number of examples on which the value rests: those with a value of their own."""
        return self.n if self.per_example is None else len(self.per_example)


class Metric(ABC):
    """Measures images and aggregates what it measured into the value of a run.

    A plug-in implements the abstract members and overrides the defaults. Its dataclass fields are
    its settings. It has no other public names: helpers are private or functions, so that a misspelt
    method is an error. Raises TypeError at import if a subclass breaks this rule.
    """

    version: ClassVar[int]
    citation: ClassVar[Citation | None] = None  # the paper that defines the metric

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        refuse_unknown_names(cls)

    @property
    @abstractmethod
    def higher_is_better(self) -> bool:
        """Whether larger values are better."""

    @property
    def tolerance(self) -> float:
        """By how much the scores of equal images may differ near 0: a smaller difference is none.

        It follows from the number format and the formula. A difference of 2^-16 of the value is
        within rounding for every metric; this is for values so small that less is. 0, the default,
        suits metrics whose values near 0 are exact.
        """
        return 0.0

    @property
    def resamplings(self) -> int:
        """The number of bootstrap resamplings behind the interval."""
        return 1000

    @abstractmethod
    def convention(self) -> str:
        """Everything that the number depends on: library, mode, extractor, weights, sizes, ranges.

        Runs are compared only if their conventions are equal.
        """

    @property
    def fewest(self) -> int:
        """The number of examples that a score needs, without those that it leaves out."""
        return 1

    def check(self, example: Example) -> None:
        """Raises UserError naming the example if its output could not be measured."""
        return

    def left_out(self, example: Example) -> str:
        """Why an example that `check` accepts has no value, naming it; "" if it has one."""
        return ""

    def fetch(self) -> None:
        """Download the weights, if it has any. Raises UserError with the remedy if that fails."""
        return

    def load(self, device: str) -> None:
        """Fetch the weights and load them. Raises UserError with the remedy if that fails."""
        return

    @abstractmethod
    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        """D numbers for each image: float64 [B, D] for uint8 outputs and their examples."""

    @abstractmethod
    def aggregate(self, rows_ND: Tensor, counts_BN: Tensor) -> Tensor:
        """Float64 values [B] of all rows, where value b counts example n counts_BN[b, n] times."""

    def per_example(self, rows_ND: Tensor) -> Tensor | None:
        """Float64 [N]: the value of each example; None if single examples have no value.

        NaN means that the metric is not defined for an example, which `aggregate` leaves out too.
        By default a row of one number is the value.
        """
        return rows_ND[:, 0] if rows_ND.shape[1] == 1 else None


@dataclass(frozen=True)
class NamedMetric:
    """A metric under its name in tables; `spec.params` holds all its settings."""

    spec: ComponentSpec
    metric: Metric

    def refusal(self, why: object) -> UserError:
        """An error with the name of the metric, and the hint that it can be left out."""
        return UserError(f"metric {self.spec.name!r}: {why}. Or leave {self.spec.name!r} out")
