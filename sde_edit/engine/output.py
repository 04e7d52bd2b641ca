"""From a batch of edited images to PNG files and rows, written behind the network's back."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from sde_edit.api.example import Example
from sde_edit.engine.attempt import Attempt
from sde_edit.engine.plan import Plan
from sde_edit.errors import UserError
from sde_edit.store.files import safe_name, write_atomic
from sde_edit.store.runs import ImageRecord, Run

if TYPE_CHECKING:
    from sde_edit.api.example import Pixels
    from sde_edit.api.experiment import Experiment

OnBatch = Callable[[int, float, int], None]


@dataclass(frozen=True)
class ActiveRun:
    """A run at work. evaluations: what its missing images cost, about.
    on_batch(images, images_per_second, evaluations), of this run so far, is called after every
    batch.
    """

    experiment: Experiment
    run: Run
    plan: Plan
    evaluations: int
    attempt: Attempt
    on_batch: OnBatch

    def writer(self) -> ImageWriter:
        return ImageWriter(self.run, self.attempt.name)


@dataclass(frozen=True)
class EditedBatch:
    """uint8 [B, H, W, 3], and what they cost together. uncounted: seconds that do not count, of
    masks and LoRAs.
    """

    images: Tensor
    seconds: float
    evaluations: float
    calls: float
    uncounted: float = 0


def concatenate(chunks: Sequence[Sequence[EditedBatch]]) -> list[EditedBatch]:
    """What the chunks of a batch come to, for each run."""
    return [
        EditedBatch(
            torch.cat([part.images for part in parts]),
            sum(part.seconds for part in parts),
            sum(part.evaluations for part in parts),
            sum(part.calls for part in parts),
            sum(part.uncounted for part in parts),
        )
        for parts in zip(*chunks, strict=True)
    ]


class RunWriter:
    """Where the images of a run go, while others are made."""

    def __init__(self, active: ActiveRun, writer: ImageWriter, pool: ThreadPoolExecutor) -> None:
        self.active = active
        self._writer, self._pool = writer, pool
        self._writes: list[Future[None]] = []
        self._images, self._evaluations = 0, 0.0

    def wants(self, examples: Sequence[Example]) -> bool:
        return any(example.id in self.active.plan.missing for example in examples)

    def write(self, examples: Sequence[Example], made: EditedBatch) -> int:
        """Hand over what was missing; returns how many images. Raises what an earlier write did."""
        n, spec = len(examples), self.active.experiment.spec
        before = self._images
        for example, pixels in zip(examples, made.images.numpy(), strict=True):
            if example.id in self.active.plan.missing:
                row = ImageRecord(
                    id=example.id,
                    file=f"{safe_name(example.id)}.png",
                    size=0,
                    pixels=hashlib.sha256(pixels.tobytes()).hexdigest(),
                    seconds=round(made.seconds / n, 4),
                    evaluations=made.evaluations / n,
                    calls=made.calls,
                    device=self.active.attempt.device,
                    dtype=spec.dtype,
                )
                self._writes.append(self._pool.submit(self._writer.write, row, pixels))
                self._images += 1
        self._evaluations += made.evaluations
        self.active.on_batch(self._images, n / made.seconds, round(self._evaluations))
        self._writes = _raise_failures(self._writes)
        return self._images - before

    def finish(self) -> None:
        """Wait for the writes. Raises the first failure."""
        for future in self._writes:
            future.result()


def _raise_failures(futures: list[Future[None]]) -> list[Future[None]]:
    """Let the first failed write stop the run; keep what is still under way."""
    for future in futures:
        if future.done():
            future.result()
    return [future for future in futures if not future.done()]


class ImageWriter:
    """Writes an image, then the row that declares it complete."""

    def __init__(self, run: Run, attempt: str) -> None:
        self._run = run
        self._path = run.row_file(attempt)

    def __enter__(self) -> ImageWriter:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def write(self, row: ImageRecord, pixels: Pixels) -> None:
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
