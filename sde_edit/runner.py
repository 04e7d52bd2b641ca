"""Plan what is missing, batch, edit, store.

Reading examples, the network, and writing PNGs overlap: a pool of threads reads ahead and writes
behind while this thread keeps the network busy. Batches are cut from the full list of ids, never
from what happens to be missing or from a shard's part, so a resumed or sharded run computes its
images in the very batches of an undisturbed one and gets the same bits.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import operator
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeVar

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from sde_edit.batch import images
from sde_edit.lora_cache import LoraCache
from sde_edit.mask_cache import MaskCache
from sde_edit.noise import Noise
from sde_edit.progress import MININTERVAL, Progress
from sde_edit.schedule import Grid
from sde_edit.store import LOG_VARIABLE, Row, Run, cut, rows_digest, safe_name, write_atomic
from sde_edit.types import (
    Adaptable,
    Adapter,
    Choice,
    CostsByExample,
    Example,
    FindsMask,
    FitsLora,
    MadeElsewhere,
    Model,
    NotFiniteError,
    SharesWayUp,
    UserError,
)

if TYPE_CHECKING:
    from sde_edit.config import Experiment
    from sde_edit.types import Pixels


log = logging.getLogger("sde_edit")
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What an experiment wants and what of it is missing."""

    ids: tuple[str, ...]  # all that the run shall hold, limit applied
    of: int  # that the data set has
    batches: tuple[tuple[str, ...], ...]  # this shard's: every n-th of the run's batches
    missing: frozenset[str]  # of this shard


def plan(experiment: Experiment, run: Run | None) -> Plan:
    """What is missing of an experiment; reads the store and the data set's ids only."""
    settings = experiment.settings
    every = list(experiment.dataset.ids())
    ids = tuple(every[: settings.limit])
    batches = tuple(tuple(batch) for batch in cut(ids, settings.batch_size))
    mine = batches[settings.shard :: settings.shards]
    done = run.rows() if run else {}
    missing = frozenset(i for batch in mine for i in batch if i not in done)
    return Plan(ids, len(every) + experiment.left_out, mine, missing)


def evaluations(experiment: Experiment, ids: Sequence[str], *, goes_up: bool = True) -> int:
    """Rows of the network that these images cost, where a task can say it beforehand; LoRAs and
    masks that come first are not counted. Without the way up, if another run goes it for this one
    too. Raises UserError for an example with a mistake.
    """
    task, sampler, steps = experiment.task, experiment.sampler, experiment.spec.steps
    if isinstance(sampler, MadeElsewhere) or not ids:
        return 0
    if not isinstance(task, CostsByExample):
        each = task.evaluations_per_image(steps)
        if isinstance(task, SharesWayUp) and not goes_up:
            each -= task.evaluations_up(steps)
        return sampler.evaluations_per_step * each * len(ids)
    size = _latent_size(experiment)

    def one(example_id: str) -> int:
        example = experiment.dataset.load(example_id)
        task.check(example)
        return task.evaluations_of(example, steps, size)

    with ThreadPoolExecutor(experiment.settings.loaders) as pool:
        return sampler.evaluations_per_step * sum(pool.map(one, ids))


def remarks(experiment: Experiment) -> list[str]:
    """What there is to say of an experiment before its images are made, a message each."""
    task, said = experiment.task, []
    if isinstance(experiment.sampler, MadeElsewhere):
        return []
    if isinstance(task, FitsLora) and task.lora:
        steps = task.lora.steps
        said.append(f"first a LoRA of {steps} steps for each image that has none, not counted")
    if isinstance(task, CostsByExample):
        said.append(task.follows(_latent_size(experiment)))
    return [text for text in said if text]


def _latent_size(experiment: Experiment) -> tuple[int, int]:
    _, height, width = experiment.source.latent_shape
    return height, width


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
        self._key: tuple[Choice, str, str, bool] | None = None
        self._model: Model | None = None

    def get(self, experiment: Experiment, device: str) -> Model:
        spec, compiled = experiment.spec, experiment.settings.compile
        key = (spec.model, device, spec.dtype, compiled)
        if self._model is None or self._key != key:
            self._model = None  # free the old weights before the new ones come
            self._model = experiment.source.load(device, spec.dtype, compiled)
            self._key = key
        return self._model


OnBatch = Callable[[int, float, int], None]


@dataclass(frozen=True)
class Making:
    """A run at work. evaluations: what its missing images cost, about.
    on_batch(images, images_per_second, evaluations), of this run so far, is called after every
    batch.
    """

    experiment: Experiment
    run: Run
    todo: Plan
    evaluations: int
    attempt: Attempt
    on_batch: OnBatch

    def writer(self) -> RowWriter:
        return RowWriter(self.run, self.attempt.name)


def execute(makings: Sequence[Making], models: ModelCache) -> None:
    """Make the images of a shard that are missing: of one run, or of several that differ in
    task.t_0 alone and share the way up.

    Raises UserError before any network evaluation for what can be known by then.
    """
    experiment, device = makings[0].experiment, makings[0].attempt.device
    if isinstance(experiment.sampler, MadeElsewhere):
        for making in makings:
            _bring_in(making, experiment.sampler)
        return
    grid = experiment.source.schedule().grid(
        experiment.spec.steps, experiment.spec.spacing, experiment.spec.last_sigma
    )
    check_examples(experiment, [i for batch in _pending(makings) for i in batch])
    model = models.get(experiment, device)
    with torch.inference_mode():
        _edit_all(makings, model, grid)


def _bring_in(making: Making, source: MadeElsewhere) -> None:
    """Copy the images that another program made. What they cost, and on what, is not known."""
    check_examples(making.experiment, sorted(making.todo.missing))

    def bring(example_id: str) -> None:
        pixels = source.read(making.experiment.dataset.load(example_id))
        row = Row(
            id=example_id,
            file=f"{safe_name(example_id)}.png",
            size=0,
            pixels=hashlib.sha256(pixels.tobytes()).hexdigest(),
            seconds=None,
            evaluations=None,
            calls=None,
            device="",
            dtype="",
        )
        writer.write(row, pixels)

    start, done = time.perf_counter(), 0
    with (
        making.writer() as writer,
        ThreadPoolExecutor(making.experiment.settings.loaders) as pool,
    ):
        for batch in making.todo.batches:
            done += len(list(pool.map(bring, [i for i in batch if i in making.todo.missing])))
            making.on_batch(done, done / (time.perf_counter() - start), 0)


def is_sealed(run: Run, todo: Plan) -> bool:
    """Whether the seal covers the images wanted, as they are now."""
    seal, rows = run.seal, run.rows()
    if seal is None or seal.n < len(todo.ids) or not rows.keys() >= set(todo.ids):
        return False
    return seal.n > len(todo.ids) or seal.digest == rows_digest(rows[i] for i in todo.ids)


def seal_if_complete(run: Run, todo: Plan) -> None:
    """Seal what is there if that is all. A seal of more images than are wanted stays."""
    if not is_sealed(run, todo) and run.rows().keys() >= set(todo.ids):
        run.write_seal(todo.ids, of=todo.of)


def check_examples(experiment: Experiment, ids: Sequence[str]) -> None:
    """Decode everything once and let task and model, or images made elsewhere, refuse it by name
    (UserError).
    """
    resolution, sampler = experiment.source.resolution, experiment.sampler

    def check(example_id: str) -> None:
        example = experiment.dataset.load(example_id)
        experiment.task.check(example)
        if isinstance(sampler, MadeElsewhere):
            sampler.read(example)
        elif example.image.shape != (resolution, resolution, 3):
            raise UserError(
                f"{example_id}: image of {example.image.shape[1]}x{example.image.shape[0]} pixels, "
                f"but model={experiment.spec.model.name} works at {resolution}x{resolution}: "
                f"for images in files set data.resolution={resolution} and data.fit=crop; "
                "data=shapes and data=shapes-edits go with model=shapes"
            )

    with ThreadPoolExecutor(experiment.settings.loaders) as pool:
        done = pool.map(check, ids)
        list(
            tqdm(done, "check", len(ids), unit="img", leave=False, delay=2, mininterval=MININTERVAL)
        )


class Attempt:
    """One process at work on one shard of a run, in attempts/<name>.json: who it is and, once it
    has ended, how. Provenance, not identity. One without an end was killed or is still at work.
    """

    def __init__(self, experiment: Experiment, run: Run, todo: Plan) -> None:
        settings = experiment.settings
        self.device = pick_device(settings.device)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        torch.set_flush_denormal(True)  # denormal numbers slow a CPU down a hundredfold
        torch.backends.cudnn.allow_tf32 = False  # float32 is to mean float32, in convolutions too
        self.name = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:8]}"
        self._path = run.path / "attempts" / f"{self.name}.json"
        self._facts = {
            "attempt": self.name,
            "overrides": list(experiment.overrides),
            "host": platform.node(),
            "pid": os.getpid(),
            "slurm_job": slurm_job(),
            "log": os.environ.get(LOG_VARIABLE),
            "device": self.device,
            "device_name": device_name(self.device),
            "batch_size": settings.batch_size,
            "threads": torch.get_num_threads(),
            "compile": settings.compile,
            "shard": settings.shard,
            "shards": settings.shards,
            "images": len(todo.missing),
            "versions": {p: version(p) for p in ("sde-edit", "torch", "diffusers", "transformers")},
            "started": time.time(),
        }

    def __enter__(self) -> Attempt:
        self._write()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> None:
        self._facts["ended"] = time.time()
        if kind is not None:
            known = issubclass(kind, Exception)  # else a signal: Ctrl-C, or a requeue on its way
            self._facts["error"] = str(error) or kind.__name__ if known else "interrupted"
        try:
            self._write()
        except UserError:
            if kind is None:
                raise  # else the error under way says more than a disk that takes no note of it

    def _write(self) -> None:
        write_atomic(self._path, (json.dumps(self._facts, indent=2) + "\n").encode())


def slurm_job() -> str | None:
    """`<job>_<task>` of the Slurm array task this process belongs to, or the plain job id."""
    job, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return f"{job}_{task}" if job and task else os.environ.get("SLURM_JOB_ID")


def device_name(device: str) -> str:
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return platform.processor() or platform.machine()


def _edit_all(makings: Sequence[Making], model: Model, grid: Grid) -> None:
    first = makings[0]
    experiment, spec = first.experiment, first.experiment.spec
    label = f"{spec.task.name} {spec.sampler.name} {spec.steps} steps"
    label += f", {len(makings)} t_0" if len(makings) > 1 else ""
    total = sum(len(making.todo.missing) for making in makings)
    progress = Progress(label, model, total, sum(making.evaluations for making in makings))
    chunks = Chunks(experiment, first.attempt.device, spec.task.kind)
    with (
        ExitStack() as stack,  # the writers outlive the pool, whose last writes need them
        ThreadPoolExecutor(experiment.settings.loaders) as pool,
        progress.shown(),
    ):
        outs = [Out(making, stack.enter_context(making.writer()), pool) for making in makings]
        start = time.perf_counter()
        for examples in _read_ahead(experiment, _pending(makings), pool):
            wanting = [out for out in outs if out.wants(examples)]
            edit = partial(_edit, [out.making for out in wanting], model, chunks, grid, progress)
            made = joined(chunks.map(examples, edit))
            now = time.perf_counter()
            # reading and writing count too; what `aside` was spent on serves other runs as well
            stretch = (now - start - made[0].aside) / sum(one.seconds for one in made)
            start = now
            for out, one in zip(wanting, made, strict=True):
                progress.add(out.write(examples, replace(one, seconds=stretch * one.seconds)))
        for out in outs:
            out.finish()


def _pending(makings: Sequence[Making]) -> list[tuple[str, ...]]:
    """The batches of which a run still misses something; runs made together are cut alike."""
    missing = frozenset().union(*(making.todo.missing for making in makings))
    return [batch for batch in makings[0].todo.batches if missing.intersection(batch)]


@dataclass(frozen=True)
class Made:
    """uint8 [B, H, W, 3], and what they cost together. aside: seconds that do not count, of
    masks and LoRAs.
    """

    images: Tensor
    seconds: float
    evaluations: float
    calls: float
    aside: float = 0


def joined(chunks: Sequence[Sequence[Made]]) -> list[Made]:
    """What the chunks of a batch come to, for each run."""
    return [
        Made(
            torch.cat([part.images for part in parts]),
            sum(part.seconds for part in parts),
            sum(part.evaluations for part in parts),
            sum(part.calls for part in parts),
            sum(part.aside for part in parts),
        )
        for parts in zip(*chunks, strict=True)
    ]


def _edit(
    makings: Sequence[Making],
    model: Model,
    chunks: Chunks,
    grid: Grid,
    progress: Progress,
    examples: Sequence[Example],
) -> list[Made]:
    """The images of each run. What they share counts in equal parts; masks to be found and LoRAs to
    be fitted, which are there for further runs as well, do not count.
    """
    model.rows_at_once = chunks.size
    noise = Noise(makings[0].experiment.spec.seed, tuple(example.id for example in examples))
    try:
        start = time.perf_counter()
        with progress.aside("masks"):
            with_masks = _find_masks(makings, model, grid, noise, examples)
        with progress.aside("LoRA"):
            prepared = _fit_lora(makings[0], model, with_masks)
        meter = Meter(model)
        aside = time.perf_counter() - start
        edits = _edits(makings, prepared, model, grid, noise)
        shared = meter.lap()
        edited = [(edit(), meter.lap()) for edit in edits]
    except NotFiniteError as error:
        broken = ", ".join(examples[row].id for row in error.rows)
        raise UserError(f"{broken}: {error}") from error
    part = [cost / len(makings) for cost in shared]
    every = (Made(made, *map(operator.add, own, part)) for made, own in edited)
    return [replace(made, aside=aside) for made in every]


def _edits(
    makings: Sequence[Making],
    examples: Sequence[Example],
    model: Model,
    grid: Grid,
    noise: Noise,
) -> Sequence[Callable[[], Tensor]]:
    experiment = makings[0].experiment
    task, sampler = experiment.task, experiment.sampler
    assert not isinstance(sampler, MadeElsewhere)
    if len(makings) == 1:
        return [lambda: task.edit(examples, model, sampler, grid, noise)]
    assert isinstance(task, SharesWayUp)
    tasks = (making.experiment.task for making in makings)
    t_0 = [other.t_0 for other in tasks if isinstance(other, SharesWayUp)]
    return task.edits(t_0, examples, model, sampler, grid, noise)


def _find_masks(
    makings: Sequence[Making],
    model: Model,
    grid: Grid,
    noise: Noise,
    examples: Sequence[Example],
) -> Sequence[Example]:
    experiment = makings[0].experiment
    task = experiment.task
    if not isinstance(task, FindsMask) or not task.finds_mask:
        return examples

    def find(some: Sequence[Example]) -> Tensor:
        own = Noise(noise.seed, tuple(example.id for example in some))
        return task.find_masks(some, model, grid, own)

    cache = MaskCache(experiment.settings.cache, experiment.spec, task)
    return cache.fill(examples, find, [making.run for making in makings])


def _fit_lora(making: Making, model: Model, examples: Sequence[Example]) -> Sequence[Example]:
    experiment, task = making.experiment, making.experiment.task
    if not isinstance(task, FitsLora) or (lora := task.lora) is None:
        return examples
    if not isinstance(model, Adaptable):
        raise UserError(
            f"model={experiment.spec.model.name} has no LoRA: use a model of kind "
            "stable_diffusion, as sd15 or shapes, or set task.lora_steps=0"
        )
    shown = task.lora_prompts(examples)

    def fit(missing: Sequence[int], noise: Noise) -> Sequence[Adapter]:
        x = model.encode(images([examples[b] for b in missing]))

        def some(rows: Sequence[int]) -> Sequence[Adapter]:
            own = [shown[missing[row]] for row in rows]
            return model.fit_lora(x[list(rows)], own, lora, noise.of(rows))

        chunks = Chunks(experiment, making.attempt.device, "lora")  # gradients take more memory
        return [adapter for part in chunks.map(range(len(x)), some) for adapter in part]

    cache = LoraCache(experiment.settings.cache, experiment.spec, lora)
    return cache.fill(examples, shown, fit)


class Meter:
    """Seconds, evaluations and calls of a model since the last lap."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._last = self._read()

    def _read(self) -> tuple[float, int, int]:
        if self._model.device.type == "cuda":
            torch.cuda.synchronize(self._model.device)
        return time.perf_counter(), self._model.evaluations, self._model.calls

    def lap(self) -> tuple[float, float, float]:
        last, self._last = self._last, self._read()
        seconds, evaluations, calls = map(operator.sub, self._last, last)
        return seconds, evaluations, calls


class Out:
    """Where the images of a run go, while others are made."""

    def __init__(self, making: Making, writer: RowWriter, pool: ThreadPoolExecutor) -> None:
        self.making = making
        self._writer, self._pool = writer, pool
        self._writes: list[Future[None]] = []
        self._images, self._evaluations = 0, 0.0

    def wants(self, examples: Sequence[Example]) -> bool:
        return any(example.id in self.making.todo.missing for example in examples)

    def write(self, examples: Sequence[Example], made: Made) -> int:
        """Hand over what was missing; returns how many images. Raises what an earlier write did."""
        n, spec = len(examples), self.making.experiment.spec
        before = self._images
        for example, pixels in zip(examples, made.images.numpy(), strict=True):
            if example.id in self.making.todo.missing:
                row = Row(
                    id=example.id,
                    file=f"{safe_name(example.id)}.png",
                    size=0,
                    pixels=hashlib.sha256(pixels.tobytes()).hexdigest(),
                    seconds=round(made.seconds / n, 4),
                    evaluations=made.evaluations / n,
                    calls=made.calls,
                    device=self.making.attempt.device,
                    dtype=spec.dtype,
                )
                self._writes.append(self._pool.submit(self._writer.write, row, pixels))
                self._images += 1
        self._evaluations += made.evaluations
        self.making.on_batch(self._images, n / made.seconds, round(self._evaluations))
        self._writes = _raise_failures(self._writes)
        return self._images - before

    def finish(self) -> None:
        """Wait for the writes. Raises the first failure."""
        for future in self._writes:
            future.result()


class Chunks:
    """Does the work of a batch in the largest chunks that the device's memory holds.

    Out of memory halves the chunk and goes on; the `size` that worked is remembered for the device
    in <cache>/chunks.json. Noise belongs to the example, so the images stay what they
    were, up to the rounding of another batch size.
    """

    def __init__(self, experiment: Experiment, device: str, work: str) -> None:
        spec = experiment.spec
        self._file = experiment.settings.cache / "chunks.json"
        parts = (device_name(device), spec.model.digest[:12], spec.dtype, work)
        self._key = " ".join([*parts, str(experiment.source.resolution)])
        self.size = self._recall().get(self._key, experiment.settings.batch_size)

    def map(self, items: Sequence[S], work: Callable[[Sequence[S]], T]) -> list[T]:
        """What `work` gives of each chunk. Raises UserError if one image alone does not fit."""
        done: list[T] = []
        rest = items
        while rest:
            chunk = rest[: self.size]
            if (given := self._try(chunk, work)) is None:
                self._halve(len(chunk))
            else:
                done.append(given)
                rest = rest[len(chunk) :]
        return done

    def _try(self, chunk: Sequence[S], work: Callable[[Sequence[S]], T]) -> T | None:
        """None if memory ran out; the failed attempt's tensors are free once this has returned."""
        try:
            return work(chunk)
        except torch.OutOfMemoryError:
            return None

    def _halve(self, failed: int) -> None:
        if failed == 1:
            raise UserError(
                "the device's memory does not hold one image: use a smaller dtype, another device, "
                "or end what else runs on it"
            )
        torch.cuda.empty_cache()
        self.size = failed // 2
        log.warning("out of memory with %d images at once: going on with %d", failed, self.size)
        known = self._recall() | {self._key: self.size}
        write_atomic(self._file, (json.dumps(known, indent=2) + "\n").encode())

    def _recall(self) -> dict[str, int]:
        return json.loads(self._file.read_text()) if self._file.exists() else {}


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
        self._path = run.row_file(attempt)

    def __enter__(self) -> RowWriter:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def write(self, row: Row, pixels: Pixels) -> None:
        """The row's size is filled in here. Raises UserError if the disk is full."""
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG")
        write_atomic(self._run.path / "outputs" / row.file, data.getvalue())
        row = replace(row, size=data.tell())
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
