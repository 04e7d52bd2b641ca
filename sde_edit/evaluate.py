"""Scores of a run: one pass over its images for every metric that is missing.

Letters: B batch or resamplings, N examples, D numbers per example, H height, W width.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sde_edit.compare import centred_interval
from sde_edit.images import read_rgb, to_pixels
from sde_edit.store import Row, Run, write_atomic
from sde_edit.types import Dataset, Example, Metric, NamedMetric, Score, UserError

if TYPE_CHECKING:
    from sde_edit.types import Pixels

    Item = tuple[Example, Pixels]


def evaluate_run(
    run: Run,
    dataset: Dataset,
    metrics: Sequence[NamedMetric],
    *,
    device: str = "cpu",
    batch_size: int = 32,
    workers: int = 4,
    bootstrap: int | None = None,
    force: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Metric name -> score as stored; those that are not stored yet are made and written.

    bootstrap replaces every metric's number of resamplings; force makes all scores again;
    on_progress is told (images done, images in all). Raises UserError if the run is not sealed,
    an image of it cannot be used, a metric lacks its weights, or a value is not finite.
    """
    rows = sealed_rows(run, dataset)
    missing = [named for named in metrics if force or not score_path(run, named).exists()]
    if missing:
        for named in missing:
            with _blaming(named):
                named.metric.load(device)
        items = prefetch(lambda i: load_item(run, dataset, rows[i]), sorted(rows), workers=workers)
        tallies = measure(batches(items, batch_size), missing, len(rows), on_progress)
        for named, tally in zip(missing, tallies, strict=True):
            _write_score(run, named, tally, bootstrap)
    return {named.choice.name: json.loads(score_path(run, named).read_text()) for named in metrics}


def score_path(run: Run, named: NamedMetric) -> Path:
    """Where a score is stored; another convention (settings, weights, package) is another file."""
    choice = named.choice
    settings = {"params": dict(choice.params), "convention": named.metric.convention()}
    return run.score_file(choice.name, choice.version, settings)


@contextmanager
def _blaming(named: NamedMetric) -> Iterator[None]:
    """Lets a metric's UserError say whose it is, and that one can do without."""
    name = named.choice.name
    try:
        yield
    except UserError as error:
        raise UserError(f"metric {name!r}: {error}. Or leave {name!r} out") from error


# ------------------------------------------------------------------ images


def sealed_rows(run: Run, dataset: Dataset) -> dict[str, Row]:
    """The sealed images by id. Raises UserError if there are none or if they have changed."""
    seal = run.seal
    if seal is None:
        raise UserError(f"run {run.path.name} is not finished: run it again to finish it")
    rows = run.rows()
    ids = dataset.ids()
    sealed = [example_id for example_id in ids if example_id in rows][: seal.n]
    missing = [example_id for example_id in ids[: seal.n] if example_id not in rows]
    if len(sealed) < seal.n:
        raise UserError(
            f"run {run.path.name}: {seal.n - len(sealed)} of its {seal.n} images are missing or "
            f"cut short, first that of example {missing[0]!r}. Run it again to remake them"
        )
    return {example_id: rows[example_id] for example_id in sealed}


def load_item(run: Run, dataset: Dataset, row: Row) -> Item:
    """An example and its output. Raises UserError naming a file that cannot be used."""
    path = run.output(row)
    again = "Delete it and run the same command again"
    try:
        output = to_pixels(read_rgb(path))
    except UserError as error:
        raise UserError(f"output {path} cannot be read as an image. {again}") from error
    example = dataset.load(row.id)
    if output.shape != example.image.shape:
        (h, w), (H, W) = output.shape[:2], example.image.shape[:2]
        raise UserError(f"output {path} is {w}x{h}, example {row.id!r} is {W}x{H}. {again}")
    return example, output


def prefetch(load: Callable[[str], Item], ids: Iterable[str], *, workers: int) -> Iterator[Item]:
    """Items in order, loaded by threads that stay at most two items each ahead."""
    workers = max(workers, 1)
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[Future[Item]] = deque()
        for example_id in ids:
            ahead.append(pool.submit(load, example_id))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def batches(items: Iterable[Item], batch_size: int) -> Iterator[list[Item]]:
    """Lists of at most `batch_size` items whose images are equal in size."""
    open_batches: dict[tuple[int, ...], list[Item]] = {}
    for item in items:
        shape = item[1].shape
        batch = open_batches.setdefault(shape, [])
        batch.append(item)
        if len(batch) == batch_size:
            yield open_batches.pop(shape)
    yield from open_batches.values()


# ------------------------------------------------------------------ measuring


@dataclass
class Tally:
    """What a metric has measured so far: id -> row [D], and the seconds it took."""

    rows: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, metric: Metric, images_BHWC: Tensor, examples: Sequence[Example]) -> None:
        started = time.perf_counter()
        rows_BD = metric.rows(images_BHWC, examples)
        _check(rows_BD, examples)
        self.rows |= {e.id: row for e, row in zip(examples, rows_BD, strict=True)}
        self.seconds += time.perf_counter() - started


def measure(
    loaded: Iterable[list[Item]],
    metrics: Sequence[NamedMetric],
    total: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Tally]:
    """Every metric's rows, in one pass. Raises UserError naming metric and example."""
    tallies = [Tally() for _ in metrics]
    done = 0
    for batch in loaded:
        examples = [example for example, _ in batch]
        images_BHWC = torch.from_numpy(np.stack([output for _, output in batch]))
        for named, tally in zip(metrics, tallies, strict=True):
            with _blaming(named):
                tally.add(named.metric, images_BHWC, examples)
        done += len(batch)
        if on_progress:
            on_progress(done, total)
    return tallies


def _check(rows_BD: Tensor, examples: Sequence[Example]) -> None:
    for example, finite in zip(examples, rows_BD.isfinite().all(1).tolist(), strict=True):
        if not finite:
            raise UserError(f"its value for example {example.id!r} is not finite")


# ------------------------------------------------------------------ statistics


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
    per_example = dict(zip(ids, rows_ND[:, 0].tolist(), strict=True))
    return Score(
        value=value,
        low=low,
        high=high,
        n=len(ids),
        replicates=replicates.tolist(),
        per_example=per_example if rows_ND.shape[1] == 1 else None,
    )


def _write_score(run: Run, named: NamedMetric, tally: Tally, bootstrap: int | None) -> None:
    choice, metric = named.choice, named.metric
    started = time.perf_counter()
    with _blaming(named):
        score = score_of(metric, tally.rows, bootstrap or metric.resamplings)
    seal = run.seal
    assert seal is not None, "sealed_rows has checked it"
    record = {
        "metric": choice.name,
        "kind": choice.kind,
        "version": choice.version,
        "settings": dict(choice.params),
        "convention": metric.convention(),
        "higher_is_better": metric.higher_is_better,
        "seal": seal.digest,
        **asdict(score),
        "seconds": round(tally.seconds + time.perf_counter() - started, 3),
    }
    path = score_path(run, named)
    write_atomic(path, (json.dumps(record, allow_nan=False) + "\n").encode())
    _drop_superseded(path, choice.name)


def _drop_superseded(path: Path, name: str) -> None:
    """A run has one score of a name, or a table could not know which to show."""
    for other in path.parent.glob(f"{name}@*.json"):
        if other != path:
            other.unlink(missing_ok=True)
