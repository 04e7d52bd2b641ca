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
from sde_edit.store.runs import Row, Run

if TYPE_CHECKING:
    from sde_edit.api.example import Pixels
    from sde_edit.api.experiment import Experiment

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


def _raise_failures(futures: list[Future[None]]) -> list[Future[None]]:
    """Let the first failed write stop the run; keep what is still under way."""
    for future in futures:
        if future.done():
            future.result()
    return [future for future in futures if not future.done()]


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
