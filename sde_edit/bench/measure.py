"""Times the engine against the bare network, against diffusers and against the device.

A benchmark uses one process, one set of weights, one dtype, one device and one number of threads.
The engine is timed on the code path of a run (plan, read, edit, autoencoder, PNG files), without
loading the model and without the first calls, which may compile.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sde_edit.bench.counterpart import DiffusersPipeline, find_counterparts
from sde_edit.bench.engine import TimedEngine, peak_memory
from sde_edit.bench.machine import device_name, present_load
from sde_edit.bench.network import time_network
from sde_edit.bench.result import (
    Bench,
    Load,
    Scoring,
    Setup,
    Timing,
    as_json,
    check_comparable,
    record_path,
)
from sde_edit.bench.scoring import images_to_score, scoring_memory
from sde_edit.bench.synthetic import DISTINCT, check_pair, on_synthetic_data
from sde_edit.engine.attempt import pick_device
from sde_edit.errors import UserError
from sde_edit.store.files import write_atomic
from sde_edit.store.processes import temporary_prefix

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment

TEMPORARY = ".bench"  # folders beside the runs


def bench(
    experiment: Experiment,
    *,
    images: int = 64,
    repeats: int = 3,
    against: Mapping[str, Any] | None = None,
) -> Bench:
    """Time one experiment on synthetic examples and store the result in <results>/bench.

    images: number per timed pass. repeats: timed passes of each side, whose median is reported.
    against: a stored benchmark with which this one is to be compared.
    Raises UserError for numbers below 1, for a task that cannot be timed with the model, and for a
    benchmark that cannot be compared with this one.
    """
    load = present_load()
    for name, value in {"images": images, "repeats": repeats}.items():
        if value < 1:
            raise UserError(f"--{name} {value}: must be at least 1")
    if experiment.spec.is_external:
        raise UserError(f"sampler={experiment.spec.sampler.name}: there is no network to time")
    check_pair(experiment)
    if against is not None:
        device = pick_device(experiment.settings.device)
        check_comparable(against, _setup(experiment, device, experiment.settings.batch_size))
    results = experiment.settings.results.resolve()
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=temporary_prefix(TEMPORARY), dir=results) as folder:
        scored = images_to_score(experiment.source.resolution)
        scoring = scoring_memory(on_synthetic_data(experiment, scored, Path(folder)))
        distinct = images if experiment.task.preparations else DISTINCT
        timed = on_synthetic_data(experiment, images, Path(folder), distinct=distinct)
        measured = _measure(timed, repeats, scoring, load)
    text = json.dumps(as_json(measured), indent=2, allow_nan=False) + "\n"
    write_atomic(record_path(results, measured), text.encode())
    return measured


def _measure(experiment: Experiment, repeats: int, scoring: Scoring, load: Load) -> Bench:
    engine = TimedEngine(experiment)
    warmup = _warmed_up(engine)
    first = engine.timed()
    memory, memory_of = peak_memory(engine.device)  # before anything else has run
    theirs = find_counterparts(engine)
    passes = _alternate(engine, theirs.sides, first, repeats)
    return Bench(
        setup=_setup(experiment, engine.device, engine.at_once),
        wall=Timing(passes["engine"], engine.images),
        preparations=engine.preparations,
        evaluations_per_image=engine.evaluations / engine.images,
        calls_per_image=engine.calls / engine.images,
        rows_per_call=engine.rows_per_call,
        warmup_seconds=warmup,
        memory=memory,
        memory_of=memory_of,
        network=time_network(engine),
        diffusers=theirs.result(passes),
        scoring=scoring,
        load=load,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _warmed_up(engine: TimedEngine) -> float:
    """Seconds of the first calls. Raises UserError if the model does not do what the task needs."""
    try:
        return engine.warm_up()
    except UserError as error:
        spec = engine.experiment.spec
        refusal = f"task={spec.task.name} cannot be timed with model={spec.model.name}"
        raise UserError(f"{refusal}: {error}") from error


def _alternate(
    engine: TimedEngine, theirs: Mapping[str, DiffusersPipeline], first: float, repeats: int
) -> dict[str, tuple[float, ...]]:
    """Seconds per image of each side's passes, timed in turn. first: the engine's first pass."""
    passes = {"engine": [first], **{name: [] for name in theirs}}
    for _ in range(repeats):
        for name, side in theirs.items():
            passes[name].append(side.timed())
        if len(passes["engine"]) < repeats:
            passes["engine"].append(engine.timed())
    return {name: tuple(seconds) for name, seconds in passes.items()}


def _setup(experiment: Experiment, device: str, batch_size: int) -> Setup:
    spec = experiment.spec
    return Setup(
        model=spec.model.name,
        model_digest=spec.model.digest,
        task=spec.task.name,
        task_settings=spec.task.params,
        sampler=spec.sampler.name,
        sampler_settings=spec.sampler.params,
        steps=spec.steps,
        resolution=experiment.source.resolution,
        dtype=spec.dtype,
        compile=experiment.settings.compile,
        batch_size=batch_size,
        device=device,
        device_name=device_name(device),
        threads=torch.get_num_threads(),
        versions={name: version(name) for name in ("sde-edit", "torch", "diffusers")},
    )
