"""Scores with bootstrap intervals; the resamplings of the examples are paired across runs.

Letters: B resamplings, N examples, D numbers per example.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from sde_edit.api.metric import Metric, NamedMetric, Score, centred_interval
from sde_edit.api.resampling import resampled
from sde_edit.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def resampling_counts(ids: Sequence[str], resamplings: int) -> Tensor:
    """`resampled` as a tensor: float64 [B, N]."""
    return torch.from_numpy(resampled(ids, resamplings))


def score_of(
    named: NamedMetric, rows: Mapping[str, Tensor], resamplings: int, *, seal: str
) -> Score:
    """The score of rows [D] by example id: value, replicates and 95 % interval.

    The interval is the value plus the quantiles of the centred replicates, because resampling
    biases a distance of distributions upwards, and that bias must not move the interval.
    Raises UserError if a value is not finite.
    """
    spec, metric = named.spec, named.metric
    ids = sorted(rows)
    rows_ND = torch.stack([rows[example_id] for example_id in ids])
    value, *replicates = _values(metric, rows_ND, resampling_counts(ids, resamplings))
    low, high = centred_interval(value, replicates)
    return Score(
        metric=spec.name,
        kind=spec.kind,
        version=spec.version,
        settings=dict(spec.params),
        convention=metric.convention(),
        higher_is_better=metric.higher_is_better,
        seal=seal,
        value=value,
        low=low,
        high=high,
        n=len(ids),
        replicates=replicates,
        per_example=_per_example(metric, ids, rows_ND),
        tolerance=metric.tolerance,
    )


def _values(metric: Metric, rows_ND: Tensor, counts_BN: Tensor) -> list[float]:
    """The value itself, then its replicates. Raises UserError if one is not finite."""
    everything = counts_BN.new_ones(1, len(rows_ND))
    values = metric.aggregate(rows_ND, torch.cat([everything, counts_BN]))
    if not values.isfinite().all():
        raise UserError("its value is not finite")
    found: list[float] = values.tolist()
    return found


def _per_example(metric: Metric, ids: Sequence[str], rows_ND: Tensor) -> dict[str, float] | None:
    """Id -> value of the examples that have one; None if the metric has none."""
    values = metric.per_example(rows_ND)
    if values is None:
        return None
    pairs = zip(ids, values.tolist(), strict=True)
    return {example_id: value for example_id, value in pairs if not math.isnan(value)}
