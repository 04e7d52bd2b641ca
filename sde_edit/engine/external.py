"""Brings in images that another program made, in place of making them."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

from sde_edit.api.sampler import MadeElsewhere
from sde_edit.engine.output import Making
from sde_edit.engine.plan import check_examples
from sde_edit.store.files import safe_name
from sde_edit.store.runs import Row


def bring_in(making: Making, source: MadeElsewhere) -> None:
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
