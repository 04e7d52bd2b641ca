"""Intervals by resampling the examples, paired across runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from sde_edit.api.metric import Metric, Pooled, Score, centred_interval
from sde_edit.errors import UserError


def resampling_counts(ids: Sequence[str], resamplings: int) -> Tensor:
    """How often each resampling draws each of the sorted ids: float64 [B, N].

    Depends on the ids alone, so runs over the same examples are resampled alike and differences of
    their replicates are paired; fewer resamplings are the first ones of more.
    """
    name = "\x1f".join(sorted(ids)).encode()
    key = int.from_bytes(hashlib.blake2b(name, digest_size=16).digest(), "little")
    rng = np.random.Generator(np.random.Philox(key=key))
    counts = np.empty((resamplings, len(ids)))
    for row in counts:
        row[:] = np.bincount(rng.integers(len(ids), size=len(ids)), minlength=len(ids))
    return torch.from_numpy(counts)


def score_of(metric: Metric, rows: Mapping[str, Tensor], resamplings: int) -> Score:
    """Value, replicates and 95 % interval of rows by id.

    The interval is the value plus the quantiles of the replicates about their mean: resampling
    biases a distance of distributions upwards, and that bias must not move the interval.
    Raises UserError if a value is not finite.
    """
    ids = sorted(rows)
    rows_ND = torch.stack([rows[example_id] for example_id in ids])
    counts_BN = resampling_counts(ids, resamplings)
    everything = counts_BN.new_ones(1, len(ids))
    values = metric.statistic(rows_ND, torch.cat([everything, counts_BN])).numpy()
    if not np.isfinite(values).all():
        raise UserError("its value is not finite")
    value, replicates = float(values[0]), values[1:]
    low, high = centred_interval(value, replicates)
    return Score(
        value=value,
        low=low,
        high=high,
        n=len(ids),
        replicates=replicates.tolist(),
        per_example=_per_example(metric, ids, rows_ND),
    )


def _per_example(metric: Metric, ids: Sequence[str], rows_ND: Tensor) -> dict[str, float] | None:
    if isinstance(metric, Pooled):
        values = metric.each(rows_ND)
    elif rows_ND.shape[1] == 1:
        values = rows_ND[:, 0]
    else:
        return None
    return dict(zip(ids, values.tolist(), strict=True))
