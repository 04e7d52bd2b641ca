"""Brings in images that another program made, in place of making them."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

from sde_edit.api.sampler import ExternalOutputs
from sde_edit.engine.output import ActiveRun
from sde_edit.engine.plan import check_examples
from sde_edit.store.files import safe_name
from sde_edit.store.runs import ImageRecord


def import_outputs(active: ActiveRun, source: ExternalOutputs) -> None:
    """Copy the images that another program made. What they cost, and on what, is not known."""
    check_examples(active.experiment, sorted(active.plan.missing))

    def bring(example_id: str) -> None:
        pixels = source.read(active.experiment.dataset.load(example_id))
        row = ImageRecord(
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
        active.writer() as writer,
        ThreadPoolExecutor(active.experiment.settings.loaders) as pool,
    ):
        for batch in active.plan.batches:
            done += len(list(pool.map(bring, [i for i in batch if i in active.plan.missing])))
            active.on_batch(done, done / (time.perf_counter() - start), 0)
