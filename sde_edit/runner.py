"""Plan what is missing, batch, edit, store.

Reading examples, the network, and writing PNGs overlap: a pool of threads reads ahead and writes
behind while this thread keeps the network busy. Batches are cut from the full list of ids, never
from what happens to be missing, so a resumed run computes its images in the very batches of an
undisturbed one and gets the same bits.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from sde_edit.noise import Noise
from sde_edit.schedule import Grid
from sde_edit.store import Row, Run, RunStore, safe_name, shard_of, write_atomic
from sde_edit.types import Example, Model, NotFiniteError, UserError

if TYPE_CHECKING:
    from sde_edit.config import Experiment
    from sde_edit.types import Pixels


@dataclass(frozen=True)
class Plan:
    """What an experiment wants and what of it is missing."""

    ids: tuple[str, ...]  # all that the run shall hold, limit applied
    of: int  # that the data set has
    batches: tuple[tuple[str, ...], ...]  # this shard's, as an undisturbed run would cut them
    missing: frozenset[str]  # of this shard

    @property
    def pending(self) -> tuple[tuple[str, ...], ...]:
        return tuple(batch for batch in self.batches if self.missing.intersection(batch))


def plan(experiment: Experiment, run: Run | None) -> Plan:
    """What is missing of an experiment; reads the store and the data set's ids only."""
    settings = experiment.settings
    every = list(experiment.dataset.ids())
    ids = every[: settings.limit]
    mine = shard_of(ids, settings.shard, settings.shards)
    size = settings.batch_size
    done = run.rows() if run else {}
    return Plan(
        ids=tuple(ids),
        of=len(every),
        batches=tuple(tuple(mine[i : i + size]) for i in range(0, len(mine), size)),
        missing=frozenset(example_id for example_id in mine if example_id not in done),
    )


def pick_device(wanted: str) -> str:
    """`auto` is cuda, then mps, then cpu. Raises UserError for a device that is not there."""
    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind = wanted.split(":")[0]
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, kind == "cpu"):
        raise UserError(f"hardware.device={wanted}: there is none on this machine; use cpu or auto")
    return wanted


class ModelCache:
    """Keeps the last loaded model, so that the runs of one sweep load it once."""

    def __init__(self) -> None:
        self._key: tuple[str, ...] | None = None
        self._model: Model | None = None

    def get(self, experiment: Experiment, device: str) -> Model:
        spec = experiment.spec
        key = (spec.model.digest, spec.model.kind, device, spec.dtype)
        if self._model is None or self._key != key:
            self._model = None  # free the old weights before the new ones come
            self._model = experiment.source.load(device, spec.dtype)
            self._key = key
        return self._model


OnBatch = Callable[[int, float, int], None]


def execute(experiment: Experiment, models: ModelCache, on_batch: OnBatch) -> Run:
    """Bring a run to its full number of images, and seal it if that is reached.

    on_batch(images, images_per_second, evaluations) is called after every batch.

    Raises UserError before any network evaluation for what can be known by then.
    """
    grid = experiment.source.schedule().grid(
        experiment.spec.steps, experiment.spec.spacing, experiment.spec.last_sigma
    )
    run = RunStore(experiment.settings.results).open(experiment.spec)
    todo = plan(experiment, run)
    if todo.pending:
        device = pick_device(experiment.settings.device)
        _check_examples(experiment, todo)
        _set_up_cpu(experiment)
        run.unseal()
        attempt = _begin_attempt(experiment, run, device)
        model = models.get(experiment, device)
        with torch.inference_mode():
            _edit_all(experiment, run, todo, model, grid, attempt, device, on_batch)
    _seal_if_complete(run, todo)
    return run


def _seal_if_complete(run: Run, todo: Plan) -> None:
    seal = run.seal
    if seal and seal.n >= len(todo.ids) and not todo.pending:
        return
    if set(todo.ids) <= run.rows().keys():
        run.write_seal(todo.ids, of=todo.of)


def _check_examples(experiment: Experiment, todo: Plan) -> None:
    """Decode everything once and let task and model refuse it by name."""
    resolution = experiment.source.resolution
    ids = [example_id for batch in todo.pending for example_id in batch]

    def check(example_id: str) -> None:
        example = experiment.dataset.load(example_id)
        experiment.task.check(example)
        if example.image.shape != (resolution, resolution, 3):
            raise UserError(
                f"{example_id}: image of {example.image.shape[1]}x{example.image.shape[0]} pixels, "
                f"but model={experiment.spec.model.name} works at {resolution}x{resolution}: "
                f"with data=folder or data=places set data.resolution={resolution} and "
                "data.fit=crop; data=shapes goes with model=shapes"
            )

    with ThreadPoolExecutor(experiment.settings.loaders) as pool:
        list(tqdm(pool.map(check, ids), "check", len(ids), unit="img", leave=False, delay=2))


def _set_up_cpu(experiment: Experiment) -> None:
    if experiment.settings.threads:
        torch.set_num_threads(experiment.settings.threads)
    torch.set_flush_denormal(True)  # denormal numbers slow a CPU down a hundredfold


def _begin_attempt(experiment: Experiment, run: Run, device: str) -> str:
    """Write down who works on the run; provenance, not identity."""
    name = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:8]}"
    settings = experiment.settings
    facts = {
        "attempt": name,
        "overrides": list(experiment.overrides),
        "host": platform.node(),
        "device": device,
        "device_name": torch.cuda.get_device_name(device)
        if device.startswith("cuda")
        else platform.processor() or platform.machine(),
        "batch_size": settings.batch_size,
        "threads": torch.get_num_threads(),
        "shard": settings.shard,
        "shards": settings.shards,
        "versions": {p: version(p) for p in ("sde-edit", "torch", "diffusers", "transformers")},
    }
    write_atomic(run.path / "attempts" / f"{name}.json", json.dumps(facts, indent=2).encode())
    return name


def _edit_all(
    experiment: Experiment,
    run: Run,
    todo: Plan,
    model: Model,
    grid: Grid,
    attempt: str,
    device: str,
    on_batch: OnBatch,
) -> None:
    spec = experiment.spec
    total = len(todo.missing)
    label = f"{spec.task.name} {spec.sampler.name} {spec.steps} steps"
    with (
        RowWriter(run, attempt) as writer,  # outlives the pool, whose last writes need it
        ThreadPoolExecutor(experiment.settings.loaders) as pool,
        tqdm(total=total, desc=label, unit="img") as bar,
    ):
        pending_writes: list[Future[None]] = []
        start, first = time.perf_counter(), model.evaluations
        for examples in _read_ahead(experiment, todo.pending, pool):
            before = model.evaluations
            noise = Noise(spec.seed, tuple(example.id for example in examples))
            try:
                images = experiment.task.edit(examples, model, experiment.sampler, grid, noise)
            except NotFiniteError as error:
                broken = ", ".join(examples[row].id for row in error.rows)
                raise UserError(f"{broken}: {error}") from error
            now = time.perf_counter()
            seconds = (now - start) / len(examples)
            evaluations = (model.evaluations - before) / len(examples)
            start = now
            for example, pixels in zip(examples, images.numpy(), strict=True):
                if example.id in todo.missing:
                    row = (example.id, pixels, seconds, evaluations, device, spec.dtype)
                    pending_writes.append(pool.submit(writer.write, *row))
                    bar.update()
            bar.set_postfix_str(f"{model.evaluations - first} network evaluations")
            on_batch(int(bar.n), 1 / seconds, model.evaluations - first)
            pending_writes = _raise_failures(pending_writes)
        for future in pending_writes:
            future.result()


def _raise_failures(futures: list[Future[None]]) -> list[Future[None]]:
    """Let the first failed write stop the run; keep what is still under way."""
    for future in futures:
        if future.done():
            future.result()
    return [future for future in futures if not future.done()]


def _read_ahead(
    experiment: Experiment, batches: Sequence[Sequence[str]], pool: ThreadPoolExecutor
) -> Iterator[list[Example]]:
    """The examples of each batch, one batch read while the one before is at work."""
    load = experiment.dataset.load
    ahead = [pool.submit(load, example_id) for example_id in batches[0]]
    for following in [*batches[1:], ()]:
        current, ahead = ahead, []
        examples = [future.result() for future in current]
        ahead = [pool.submit(load, example_id) for example_id in following]
        yield examples


class RowWriter:
    """Writes an image, then the row that declares it complete."""

    def __init__(self, run: Run, attempt: str) -> None:
        self._run = run
        self._path = run.path / "rows" / f"{attempt}.jsonl"

    def __enter__(self) -> RowWriter:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def write(
        self,
        example_id: str,
        pixels: Pixels,
        seconds: float,
        evaluations: float,
        device: str,
        dtype: str,
    ) -> None:
        """Raises UserError if the disk is full."""
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG")
        name = f"{safe_name(example_id)}.png"
        write_atomic(self._run.path / "outputs" / name, data.getvalue())
        row = Row(
            id=example_id,
            file=name,
            size=data.tell(),
            pixels=hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest(),
            seconds=round(seconds, 4),
            evaluations=evaluations,
            device=device,
            dtype=dtype,
        )
        line = (json.dumps(asdict(row)) + "\n").encode()
        try:
            if os.write(self._file, line) != len(line):
                raise OSError("only a part was written")
            os.fsync(self._file)
        except OSError as error:
            raise UserError(
                f"cannot write {self._path}: {error}. Free space and run the same command again; "
                "nothing finished is lost"
            ) from error
