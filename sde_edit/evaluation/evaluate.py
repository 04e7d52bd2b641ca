"""Scores a run: one pass over its images measures every metric whose score is missing.

Letters: B batch or resamplings, N examples, D numbers per example, H height, W width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sde_edit.api.dataset import Dataset
from sde_edit.api.example import Example
from sde_edit.api.metric import NamedMetric, Score
from sde_edit.errors import UserError
from sde_edit.evaluation.bootstrap import score_of
from sde_edit.evaluation.outputs import Outputs, seal_of, sealed_rows
from sde_edit.heap import freed_blocks_returned
from sde_edit.imaging.batches import batches_of_one_size, sizes_of
from sde_edit.store.feature_cache import FeatureCache
from sde_edit.store.runs import ImageRecord, Run, Seal, read_score, write_score

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.evaluation.outputs import Item

OnProgress = Callable[[int, int], None]
# A killed evaluation loses at most this much.
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
) -> dict[str, Score]:
    """Metric name -> score; scores that are not stored yet are computed and stored.

    Rows that any process has measured before are read from `cache` (<results>/cache). Batches are
    the same as those of the run's shards, and a batch that lacks a row is measured as a whole, so
    scores do not depend on which process measured which images.

    bootstrap: replaces every metric's number of resamplings. force: measure and score again.
    on_progress: called with (images done, images in all). Raises UserError if the run is not
    sealed or an image cannot be used; and, after the scores of the other metrics are stored, if a
    metric lacks its weights, runs out of memory, or gives a value that is not finite.
    """
    seal = seal_of(run)
    outputs = Outputs(run, dataset, sealed_rows(run, seal, dataset), workers)
    scores = {} if force else _stored_scores(run, metrics)
    missing = [named for named in metrics if named.spec.name not in scores]
    failures = Failures()
    accumulators = _open_accumulators(outputs, missing, cache, failures, force=force)
    ids = list(outputs.rows)
    batches = batches_of_one_size(ids, sizes_of(dataset, ids), batch_size)
    for accumulator in _fill(accumulators, outputs, batches, device, failures, on_progress):
        name = accumulator.named.spec.name
        with failures.of(accumulator.named):
            scores[name] = _write_score(run, seal, accumulator, bootstrap)
    failures.raise_any()
    return {named.spec.name: scores[named.spec.name] for named in metrics}


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

    Skips batches that lack an image. Raises UserError as `evaluate_run` does.
    """
    rows = run.rows()
    there = [batch for batch in batches if rows.keys() >= set(batch)]
    wanted = {example_id: rows[example_id] for batch in there for example_id in batch}
    outputs, failures = Outputs(run, dataset, wanted, workers), Failures()
    accumulators = _open_accumulators(outputs, metrics, cache, failures)
    _fill(accumulators, outputs, there, device, failures, on_progress)
    failures.raise_any()


def check_metrics(metrics: Sequence[NamedMetric]) -> list[str]:
    """Download and load the weights of metrics; return a message for each that cannot be used.

    They are loaded on the CPU, one metric after the other, and dropped: that finds a damaged file
    and takes no memory from the model.
    """
    failures = Failures()
    for named in metrics:
        with failures.of(named):
            named.metric.fetch()
            replace(named.metric).load("cpu")  # type: ignore[type-var]  # plug-ins are dataclasses
    return failures.messages


def score_path(run: Run, named: NamedMetric) -> Path:
    """The file of a score. Another convention (settings, weights, package) is another file."""
    spec = named.spec
    settings = {"params": dict(spec.params), "convention": named.metric.convention()}
    return run.score_file(spec.name, spec.version, settings)


def _stored_scores(run: Run, metrics: Sequence[NamedMetric]) -> dict[str, Score]:
    names = [named.spec.name for named in metrics]
    files = [score_path(run, named) for named in metrics]
    found = {n: run.stored_score(file, n) for n, file in zip(names, files, strict=True)}
    return {name: score for name, score in found.items() if score}


@contextmanager
def _naming_metric(named: NamedMetric) -> Iterator[None]:
    """Add the metric's name to its UserErrors, and the hint that it can be left out."""
    try:
        yield
    except UserError as error:
        raise named.refusal(error) from error
    except torch.OutOfMemoryError as error:
        raise named.refusal(
            "the device's memory does not hold its network and a batch of images. Set "
            "hardware.batch_size to a smaller number, or hardware.device=cpu for the scores; the "
            "images are kept"
        ) from error


class Failures:
    """Collects the errors of metrics, so that one that fails does not cost the others' scores."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    @contextmanager
    def of(self, named: NamedMetric) -> Iterator[None]:
        """Keep a UserError of this metric for the end."""
        try:
            with _naming_metric(named):
                yield
        except UserError as error:
            self.messages.append(str(error))

    def raise_any(self) -> None:
        """Raises UserError with every message, one a line."""
        if self.messages:
            raise UserError("\n".join(self.messages))


class MetricAccumulator:
    """The rows [D] of a metric by example id: those from the cache and those measured since.

    seconds: the time that measuring took in this process.
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
        """Whether a batch must be measured, which is the case if a single row is missing."""
        return not self.rows.keys() >= set(batch)

    def measure(self, items: Sequence[Item]) -> None:
        """Measure images of one size. Raises UserError naming the example."""
        started = time.perf_counter()
        examples = [example for example, _ in items]
        for example in examples:
            self.named.metric.check(example)
        images_BHWC = torch.from_numpy(np.stack([output for _, output in items]))
        rows_BD = self.named.metric.measure(images_BHWC, examples)
        _check(rows_BD, examples)
        self._unsaved |= {e.id: row_D for e, row_D in zip(examples, rows_BD, strict=True)}
        self.seconds += time.perf_counter() - started

    def save(self) -> None:
        """Write the rows measured since the last call."""
        if self._unsaved:
            self._cache.write(self._unsaved, self._images)
        self.rows |= self._unsaved
        self._unsaved = {}
        self._saved_at = time.monotonic()

    def save_if_due(self) -> None:
        """Save if many rows or the rows of a long time are unsaved."""
        age = time.monotonic() - self._saved_at
        if len(self._unsaved) >= _UNSAVED_ROWS or age >= _UNSAVED_SECONDS:
            self.save()


def _open_accumulators(
    outputs: Outputs,
    metrics: Sequence[NamedMetric],
    cache: Path,
    failures: Failures,
    *,
    force: bool = False,
) -> list[MetricAccumulator]:
    """Those of the metrics that have their weights. force: clear the cache of the run."""
    accumulators = []
    for named in metrics:
        with failures.of(named):
            named.metric.fetch()  # first: the convention, and so the cache, names the weights
            stored = FeatureCache(cache, outputs.run, named)
            if force:
                stored.clear()
            accumulators.append(MetricAccumulator(named, stored, outputs.rows))
    return accumulators


@freed_blocks_returned()
def _fill(
    accumulators: Sequence[MetricAccumulator],
    outputs: Outputs,
    batches: Sequence[Sequence[str]],
    device: str,
    failures: Failures,
    on_progress: OnProgress | None,
) -> list[MetricAccumulator]:
    """Measure what the accumulators lack in one pass over the images, and store it.

    Returns the accumulators that are complete; `failures` says why the others are not.
    """
    working = _load_networks(accumulators, batches, device, failures)
    pending = [batch for batch in batches if any(one.lacks(batch) for one in working)]
    total = sum(map(len, batches))
    done = total - sum(map(len, pending))
    try:
        for batch, items in zip(pending, outputs.read(pending), strict=True):
            lacking = [one for one in working if one.lacks(batch)]
            measured = [one for one in lacking if _measure(one, items, failures)]
            working = [one for one in working if one in measured or one not in lacking]
            done += len(batch)
            if on_progress:
                on_progress(done, total)
    finally:
        for accumulator in accumulators:
            accumulator.save()
    return working


def _load_networks(
    accumulators: Sequence[MetricAccumulator],
    batches: Sequence[Sequence[str]],
    device: str,
    failures: Failures,
) -> list[MetricAccumulator]:
    """The accumulators that lack nothing, and those of the others whose networks can be loaded."""
    ready = []
    for accumulator in accumulators:
        with failures.of(accumulator.named):
            if any(map(accumulator.lacks, batches)):
                accumulator.named.metric.load(device)
            ready.append(accumulator)
    return ready


def _measure(accumulator: MetricAccumulator, items: Sequence[Item], failures: Failures) -> bool:
    """Measure a batch; False if that failed."""
    with failures.of(accumulator.named):
        accumulator.measure(items)
        accumulator.save_if_due()
        return True
    return False


def _check(rows_BD: Tensor, examples: Sequence[Example]) -> None:
    for example, finite in zip(examples, rows_BD.isfinite().all(1).tolist(), strict=True):
        if not finite:
            raise UserError(f"its value for example {example.id!r} is not finite")


def _write_score(
    run: Run, seal: Seal, accumulator: MetricAccumulator, bootstrap: int | None
) -> Score:
    """Compute and store a score. Raises UserError if the run was sealed anew in the meantime."""
    named, started = accumulator.named, time.perf_counter()
    resamplings = bootstrap or named.metric.resamplings
    score = score_of(named, accumulator.rows, resamplings, seal=seal.digest)
    seconds = round(accumulator.seconds + time.perf_counter() - started, 3)
    if run.seal != seal:
        raise UserError(
            f"run {run.path.name} changed while it was scored: run the same command again"
        )
    path = score_path(run, named)
    write_score(path, replace(score, seconds=seconds))
    _drop_superseded(path, named.spec.name)
    return read_score(path)


def _drop_superseded(path: Path, name: str) -> None:
    """Delete other scores of the same name, so that a run has one score per name."""
    for other in path.parent.glob(f"{name}@*.json"):
        if other != path:
            other.unlink(missing_ok=True)
