"""Scores and their intervals."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from sde_edit.api.metric import Metric, NamedMetric, Score
from sde_edit.evaluation.bootstrap import resampling_counts, score_of
from sde_edit.registry import build
from tests.unit.evaluation.runs import Brightness, choice


def scored(metric: Metric, rows: Mapping[str, Tensor], resamplings: int) -> Score:
    return score_of(NamedMetric(choice("metric"), metric), rows, resamplings, seal="")


def rows_of(values: np.ndarray) -> dict[str, Tensor]:
    return {f"{i:04d}": torch.tensor([float(v)]).double() for i, v in enumerate(values)}


def test_resamplings_depend_on_the_ids_alone():
    ids = ["b", "a", "c"]
    counts = resampling_counts(ids, 50)
    assert counts.sum(1).tolist() == [3.0] * 50
    assert torch.equal(counts, resampling_counts(["c", "b", "a"], 50))
    assert torch.equal(counts[:10], resampling_counts(ids, 10))
    assert not torch.equal(counts, resampling_counts(["x", "a", "c"], 50))


def test_differences_of_two_runs_are_paired():
    """A constant difference between two runs has no spread, however much the images differ."""
    values = np.random.default_rng(0).normal(size=100)
    a = scored(Brightness(), rows_of(values), 200)
    b = scored(Brightness(), dict(reversed(rows_of(values + 1).items())), 200)
    difference = np.array(b.replicates) - np.array(a.replicates)
    assert np.std(a.replicates) > 0.05
    np.testing.assert_allclose(difference, 1)


def test_interval_is_the_textbook_one_for_a_mean():
    values = np.random.default_rng(1).normal(5, 2, size=400)
    score = scored(Brightness(), rows_of(values), 4000)
    half = 1.96 * values.std() / 20
    assert score.low == pytest.approx(score.value - half, abs=0.1 * half)
    assert score.high == pytest.approx(score.value + half, abs=0.1 * half)


def test_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    scores = [scored(Brightness(), rows_of(rng.normal(size=60)), 200) for _ in range(200)]
    covered = np.mean([score.low <= 0 <= score.high for score in scores])
    assert 0.89 <= covered <= 0.99


def test_interval_of_a_distance_holds_its_value():
    """Resampling repeats rows, which biases a Fréchet distance; the interval must not follow."""
    rng = np.random.default_rng(3)
    rows = {f"{i:03d}": torch.from_numpy(rng.normal(size=16)) for i in range(40)}
    score = scored(build("metrics", "frechet", {"extractor": "shapes"}), rows, 100)
    assert score.low < score.value < score.high
    assert np.mean(score.replicates) > score.high, "the bias is larger than the spread"
    assert score.per_example is None


def test_scores_do_not_depend_on_the_order_of_arrival():
    values = rows_of(np.arange(20.0))
    assert scored(Brightness(), values, 50) == replace(
        scored(Brightness(), dict(reversed(values.items())), 50)
    )
