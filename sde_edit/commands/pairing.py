"""Brings runs to the examples that all of them have, so that they can be paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from sde_edit.api.metric import NamedMetric, Score
from sde_edit.api.spec import ComponentSpec
from sde_edit.evaluation.bootstrap import score_of
from sde_edit.evaluation.per_image import PerImageMetric
from sde_edit.registry import build
from sde_edit.report.results import RunResult


def on_common_examples(results: Sequence[RunResult]) -> list[RunResult]:
    """The results on the examples that all runs have; as they are if none has others.

    Metrics whose value is a mean over examples are scored again; others are left out. Without a
    common example no metric is left.
    """
    common = frozenset.intersection(*(result.examples for result in results))
    if all(result.examples == common for result in results):
        return list(results)
    return [_on(common, result) for result in results]


def _on(ids: frozenset[str], result: RunResult) -> RunResult:
    scores = {}
    for name, stored in result.scores.items():
        if not ids or not stored.per_example or not ids <= stored.per_example.keys():
            continue
        metric = build("metrics", stored.kind, stored.settings)
        if isinstance(metric, PerImageMetric):
            scores[name] = _rescored(stored, metric, ids)
    return replace(result, n=len(ids), examples=ids, scores=scores)


def _rescored(stored: Score, metric: PerImageMetric, ids: frozenset[str]) -> Score:
    values = stored.per_example or {}
    rows = {i: torch.tensor([values[i]], dtype=torch.float64) for i in ids}
    spec = ComponentSpec(stored.metric, stored.kind, stored.version, stored.settings)
    named = NamedMetric(spec, metric)
    score = score_of(named, rows, len(stored.replicates), seal=stored.seal)
    return replace(score, convention=stored.convention)
