"""Writes edited images and their records while the network works on the next batch."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass, replace
from typing import TYPE_CHECKING

import torch
from PIL import Image

from sde_edit.api.example import Example
from sde_edit.engine.attempt import Attempt
from sde_edit.engine.plan import Plan
from sde_edit.errors import UserError
from sde_edit.imaging.files import png_bytes
from sde_edit.store.files import write_atomic
from sde_edit.store.runs import ImageRecord, Run, output_name, pixels_digest

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.api.example import Pixels
    from sde_edit.api.experiment import Experiment

OnBatch = Callable[[int, float, int], None]


@dataclass(frozen=True)
class ActiveRun:
    """A run whose missing images are being made.

    evaluations: estimated cost of the missing images, in rows of the network.
    on_batch(images, images_per_second, evaluations) is called after every batch, with the run's
    totals so far. cut: the examples whose prompts the model cuts.
    """

    experiment: Experiment
    run: Run
    plan: Plan
    evaluations: int
    attempt: Attempt
    on_batch: OnBatch
    cut: frozenset[str] = frozenset()

    def writer(self) -> ImageWriter:
        return ImageWriter(self.run, self.attempt.name)


@dataclass(frozen=True)
class Cost:
    """Seconds, evaluations (rows of the network) and calls of the network."""

    seconds: float
    evaluations: float
    calls: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Cost) -> Cost:
        return Cost(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __truediv__(self, parts: float) -> Cost:
        return Cost(*(a / parts for a in astuple(self)))


@dataclass(frozen=True)
class EditedBatch:
    """Images of one run, uint8 [B, H, W, 3], and their total cost.

    spent: the run's part of it. alone: what it would be, had the run shared nothing. uncounted:
    seconds of preparations, not part of either.
    """

    images: Tensor
    spent: Cost
    alone: Cost
    uncounted: float = 0

    def in_seconds(self, seconds: float) -> EditedBatch:
        """The batch with other seconds."""
        return replace(self, spent=replace(self.spent, seconds=seconds))


NOTHING = Cost(0, 0, 0)


def concatenate(chunks: Sequence[Sequence[EditedBatch]]) -> list[EditedBatch]:
    """Join the chunks of a batch, for each run."""
    return [
        EditedBatch(
            torch.cat([part.images for part in parts]),
            sum((part.spent for part in parts), NOTHING),
            sum((part.alone for part in parts), NOTHING),
            sum(part.uncounted for part in parts),
        )
        for parts in zip(*chunks, strict=True)
    ]


class RunWriter:
    """Hands the images of one run to threads that write them."""

    def __init__(self, active: ActiveRun, writer: ImageWriter, pool: ThreadPoolExecutor) -> None:
        self.active = active
        self._writer, self._pool = writer, pool
        self._writes: list[Future[None]] = []
        self._images, self._evaluations = 0, 0.0

    def write(self, examples: Sequence[Example], edited: EditedBatch) -> int:
        """Start to write the images that are missing; return how many there were.

        An image that a process with other batches has made in the meantime stays: it may differ by
        rounding, and that process may have sealed it. Raises the error of an earlier write that
        failed.
        """
        before = self._images
        wanted = self.active.plan.missing.intersection(example.id for example in examples)
        wanted -= self.active.run.finished(wanted)
        for example, pixels in zip(examples, edited.images.numpy(), strict=True):
            if example.id in wanted:
                record = self._record(example.id, pixels, edited, len(examples))
                self._writes.append(self._pool.submit(self._writer.write, record, pixels))
                self._images += 1
        self._evaluations += edited.spent.evaluations
        rate = len(examples) / edited.spent.seconds
        self.active.on_batch(self._images, rate, round(self._evaluations))
        self._writes = _raise_failures(self._writes)
        return self._images - before

    def _record(self, example_id: str, pixels: Pixels, edited: EditedBatch, n: int) -> ImageRecord:
        return ImageRecord(
            id=example_id,
            file=output_name(example_id),
            size=0,
            pixels=pixels_digest(pixels),
            seconds=round(edited.spent.seconds / n, 4),
            evaluations=edited.spent.evaluations / n,
            calls=edited.spent.calls,
            device=self.active.attempt.device,
            dtype=self.active.experiment.spec.dtype,
            cut=example_id in self.active.cut,
            evaluations_alone=edited.alone.evaluations / n,
            calls_alone=edited.alone.calls,
        )

    def finish(self) -> None:
        """Wait for the writes. Raises the first failure."""
        for future in self._writes:
            future.result()


def _raise_failures(futures: list[Future[None]]) -> list[Future[None]]:
    """Raise the first failure; return the writes that are still under way."""
    for future in futures:
        if future.done():
            future.result()
    return [future for future in futures if not future.done()]


class ImageWriter:
    """Writes an image, then the record that declares it complete."""

    def __init__(self, run: Run, attempt: str) -> None:
        self._run = run
        self._path = run.row_file(attempt)

    def __enter__(self) -> ImageWriter:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        except OSError as error:
            raise self._cannot_write(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def write(self, record: ImageRecord, pixels: Pixels) -> None:
        """Write the image, then the record with its size. Raises UserError if the disk is full."""
        data = png_bytes(Image.fromarray(pixels))
        write_atomic(self._run.output(record), data)
        record = replace(record, size=len(data))
        line = (json.dumps(asdict(record)) + "\n").encode()
        try:
            if os.write(self._file, line) != len(line):
                raise OSError("only a part was written")
            os.fsync(self._file)
        except OSError as error:
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: OSError) -> UserError:
        return UserError(
            f"cannot write {self._path}: {error}. Free space and run the same command again; "
            "nothing finished is lost"
        )
