"""Scores of a run: one pass over its images for every metric that is missing.

Letters: B batch or resamplings, N examples, D numbers per example, H height, W width.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sde_edit.api.dataset import Dataset
from sde_edit.api.example import Example
from sde_edit.api.metric import NamedMetric
from sde_edit.errors import UserError
from sde_edit.evaluation.bootstrap import score_of
from sde_edit.evaluation.outputs import Outputs, _seal_of, by_size, sealed_rows
from sde_edit.store.feature_cache import FeatureCache
from sde_edit.store.files import write_atomic
from sde_edit.store.runs import ImageRecord, Run, Seal, batched

if TYPE_CHECKING:
    from sde_edit.evaluation.outputs import Item

OnProgress = Callable[[int, int], None]
# What a killed evaluation may lose.
_UNSAVED_ROWS = 1000
_UNSAVED_SECONDS = 60.0


def evaluate_run(
    run: Run,
    dataset: Dataset,
    metrics: Sequence[NamedMetric],
    *,
    cache: Path,
    device: str = "cpu",
    batch_size: int = 32,
    workers: int = 4,
    bootstrap: int | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> dict[str, dict[str, Any]]:
    """Metric name -> score as stored; those that are not stored yet are made and written.

    What was measured of the run's images before, by any process, is taken from `cache`
    (<results>/cache). Batches are cut as the run's shards cut theirs, and one that lacks a row is
    measured whole, so scores do not depend on what was measured by whom.

    bootstrap replaces every metric's number of resamplings; force measures and scores again;
    on_progress is told (images done, images in all). Raises UserError if the run is not sealed,
    an image of it cannot be used, a metric lacks its weights, or a value is not finite.
    """
    seal = _seal_of(run)
    outputs = Outputs(run, dataset, sealed_rows(run, seal, dataset), workers)
    scores = {} if force else _stored_scores(run, metrics)
    missing = [named for named in metrics if named.choice.name not in scores]
    ledgers = _open_ledgers(outputs, missing, cache, force=force)
    _fill(ledgers, outputs, batched(list(outputs.rows), batch_size), device, on_progress)
    for ledger in ledgers:
        scores[ledger.named.choice.name] = _write_score(run, seal, ledger, bootstrap)
    return {named.choice.name: scores[named.choice.name] for named in metrics}


def measure_run(
    run: Run,
    dataset: Dataset,
    metrics: Sequence[NamedMetric],
    batches: Sequence[Sequence[str]],
    *,
    cache: Path,
    device: str = "cpu",
    workers: int = 4,
    on_progress: OnProgress | None = None,
) -> None:
    """Measure a shard's batches of ids into `cache`, for `evaluate_run` to score; needs no seal.

    Batches of which an image is not made yet are left out. Raises UserError as `evaluate_run`.
    """
    rows = run.rows()
    there = [batch for batch in batches if rows.keys() >= set(batch)]
    wanted = {example_id: rows[example_id] for batch in there for example_id in batch}
    outputs = Outputs(run, dataset, wanted, workers)
    _fill(_open_ledgers(outputs, metrics, cache), outputs, there, device, on_progress)


def check_metrics(metrics: Sequence[NamedMetric]) -> list[str]:
    """What keeps metrics from being measured: weights that are not here and cannot be fetched.

    Fetches those that can; loads no network.
    """
    problems = []
    for named in metrics:
        try:
            with _blaming(named):
                named.metric.fetch()
        except UserError as error:
            problems.append(str(error))
    return problems


def score_path(run: Run, named: NamedMetric) -> Path:
    """Where a score is stored; another convention (settings, weights, package) is another file."""
    choice = named.choice
    settings = {"params": dict(choice.params), "convention": named.metric.convention()}
    return run.score_file(choice.name, choice.version, settings)


def _stored_scores(run: Run, metrics: Sequence[NamedMetric]) -> dict[str, dict[str, Any]]:
    found = {}
    for named in metrics:
        with suppress(FileNotFoundError):
            found[named.choice.name] = json.loads(score_path(run, named).read_text())
    return found


@contextmanager
def _blaming(named: NamedMetric) -> Iterator[None]:
    """Lets a metric's UserError say whose it is, and that one can do without."""
    name = named.choice.name
    try:
        yield
    except UserError as error:
        raise UserError(f"metric {name!r}: {error}. Or leave {name!r} out") from error


class Ledger:
    """A metric's rows [D] of images by id: those the cache holds and those measured since.

    seconds: what measuring took here.
    """

    def __init__(
        self, named: NamedMetric, cache: FeatureCache, images: Mapping[str, ImageRecord]
    ) -> None:
        self.named = named
        self.rows = cache.read(images)
        self.seconds = 0.0
        self._cache = cache
        self._images = images
        self._unsaved: dict[str, Tensor] = {}
        self._saved_at = time.monotonic()

    def lacks(self, batch: Iterable[str]) -> bool:
        """Whether a batch has to be measured: all of it, even if a single row is missing."""
        return not self.rows.keys() >= set(batch)

    def measure(self, items: Sequence[Item]) -> None:
        """Rows of images of one size. Raises UserError naming metric and example."""
        started = time.perf_counter()
        examples = [example for example, _ in items]
        images_BHWC = torch.from_numpy(np.stack([output for _, output in items]))
        with _blaming(self.named):
            rows_BD = self.named.metric.rows(images_BHWC, examples)
            _check(rows_BD, examples)
        self._unsaved |= {e.id: row_D for e, row_D in zip(examples, rows_BD, strict=True)}
        self.seconds += time.perf_counter() - started

    def save(self) -> None:
        """Write what was measured since the last time."""
        if self._unsaved:
            self._cache.write(self._unsaved, self._images)
        self.rows |= self._unsaved
        self._unsaved = {}
        self._saved_at = time.monotonic()

    def save_if_due(self) -> None:
        age = time.monotonic() - self._saved_at
        if len(self._unsaved) >= _UNSAVED_ROWS or age >= _UNSAVED_SECONDS:
            self.save()


def _open_ledgers(
    outputs: Outputs, metrics: Sequence[NamedMetric], cache: Path, *, force: bool = False
) -> list[Ledger]:
    """Raises UserError if a metric lacks its weights. force: forget what the cache holds."""
    ledgers = []
    for named in metrics:
        with _blaming(named):
            named.metric.fetch()  # first: the convention, and so the cache, names the weights
        stored = FeatureCache(cache, outputs.run, named)
        if force:
            stored.clear()
        ledgers.append(Ledger(named, stored, outputs.rows))
    return ledgers


def _fill(
    ledgers: Sequence[Ledger],
    outputs: Outputs,
    batches: Sequence[Sequence[str]],
    device: str,
    on_progress: OnProgress | None,
) -> None:
    """Measure what the ledgers lack, in one pass over the images; what is done stays stored."""
    pending = [batch for batch in batches if any(ledger.lacks(batch) for ledger in ledgers)]
    _load_networks([ledger for ledger in ledgers if any(map(ledger.lacks, pending))], device)
    total = sum(map(len, batches))
    done = total - sum(map(len, pending))
    try:
        for batch, items in zip(pending, outputs.read(pending), strict=True):
            _measure(items, [ledger for ledger in ledgers if ledger.lacks(batch)])
            done += len(batch)
            if on_progress:
                on_progress(done, total)
    finally:
        for ledger in ledgers:
            ledger.save()


def _load_networks(ledgers: Iterable[Ledger], device: str) -> None:
    for ledger in ledgers:
        with _blaming(ledger.named):
            ledger.named.metric.load(device)


def _measure(items: Sequence[Item], ledgers: Sequence[Ledger]) -> None:
    for group in by_size(items):
        for ledger in ledgers:
            ledger.measure(group)
    for ledger in ledgers:
        ledger.save_if_due()


def _check(rows_BD: Tensor, examples: Sequence[Example]) -> None:
    for example, finite in zip(examples, rows_BD.isfinite().all(1).tolist(), strict=True):
        if not finite:
            raise UserError(f"its value for example {example.id!r} is not finite")


def _write_score(run: Run, seal: Seal, ledger: Ledger, bootstrap: int | None) -> dict[str, Any]:
    """The score as stored. Raises UserError if it is no score of what is sealed by now."""
    choice, metric = ledger.named.choice, ledger.named.metric
    started = time.perf_counter()
    with _blaming(ledger.named):
        score = score_of(metric, ledger.rows, bootstrap or metric.resamplings)
    record = {
        "metric": choice.name,
        "kind": choice.kind,
        "version": choice.version,
        "settings": dict(choice.params),
        "convention": metric.convention(),
        "higher_is_better": metric.higher_is_better,
        "seal": seal.digest,
        **asdict(score),
        "seconds": round(ledger.seconds + time.perf_counter() - started, 3),
    }
    if run.seal != seal:
        raise UserError(
            f"run {run.path.name} changed while it was scored: run the same command again"
        )
    path = score_path(run, ledger.named)
    text = json.dumps(record, allow_nan=False)
    write_atomic(path, (text + "\n").encode())
    _drop_superseded(path, choice.name)
    stored: dict[str, Any] = json.loads(text)
    return stored


def _drop_superseded(path: Path, name: str) -> None:
    """A run has one score of a name, or a table could not know which to show."""
    for other in path.parent.glob(f"{name}@*.json"):
        if other != path:
            other.unlink(missing_ok=True)
