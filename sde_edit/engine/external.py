"""Imports the images that another program made."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from sde_edit.api.sampler import ExternalOutputs
from sde_edit.engine.output import ActiveRun
from sde_edit.store.runs import ImageRecord, output_name, pixels_digest


def import_outputs(active: ActiveRun, outputs: ExternalOutputs) -> None:
    """Copy the missing images into the run. Their cost and device are unknown."""

    def import_one(example_id: str) -> None:
        pixels = outputs.read(active.experiment.dataset.load(example_id))
        record = ImageRecord(
            id=example_id,
            file=output_name(example_id),
            size=0,
            pixels=pixels_digest(pixels),
            seconds=None,
            evaluations=None,
            calls=None,
            device="",
            dtype="",
        )
        writer.write(record, pixels)

    start, done = time.perf_counter(), 0
    with (
        active.writer() as writer,
        ThreadPoolExecutor(active.experiment.settings.loaders) as pool,
    ):
        for batch in active.plan.batches:
            done += len(list(pool.map(import_one, [i for i in batch if i in active.plan.missing])))
            active.on_batch(done, done / (time.perf_counter() - start), 0)
