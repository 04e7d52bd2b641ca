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
from typing import TYPE_CHECKING

import torch

from sde_edit.bench.counterpart import DiffusersPipeline, find_counterparts
from sde_edit.bench.engine import TimedEngine, on_synthetic_data, peak_memory
from sde_edit.bench.network import time_network
from sde_edit.bench.result import Bench, Scoring, Setup, Timing, as_json, record_path
from sde_edit.bench.scoring import IMAGES, scoring_memory
from sde_edit.engine.attempt import device_name
from sde_edit.errors import UserError
from sde_edit.store.files import write_atomic
from sde_edit.store.processes import temporary_prefix

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment

TEMPORARY = ".bench"  # folders beside the runs


def bench(experiment: Experiment, *, images: int = 64, repeats: int = 3) -> Bench:
    """Time one experiment on synthetic examples and store the result in <results>/bench.

    images: number per timed pass. repeats: timed passes of each side, whose median is reported.
    Raises UserError for numbers below 1 and for models of other kinds than Stable Diffusion.
    """
    for name, value in {"images": images, "repeats": repeats}.items():
        if value < 1:
            raise UserError(f"--{name} {value}: must be at least 1")
    if experiment.spec.is_external:
        raise UserError(f"sampler={experiment.spec.sampler.name}: there is no network to time")
    results = experiment.settings.results.resolve()
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=temporary_prefix(TEMPORARY), dir=results) as folder:
        scoring = scoring_memory(on_synthetic_data(experiment, IMAGES, Path(folder)))
        measured = _measure(on_synthetic_data(experiment, images, Path(folder)), repeats, scoring)
    text = json.dumps(as_json(measured), indent=2, allow_nan=False) + "\n"
    write_atomic(record_path(results, measured), text.encode())
    return measured


def _measure(experiment: Experiment, repeats: int, scoring: Scoring) -> Bench:
    engine = TimedEngine(experiment)
    warmup = engine.warm_up()
    first = engine.timed()
    memory, memory_of = peak_memory(engine.device)  # before anything else has run
    theirs = find_counterparts(engine)
    passes = _alternate(engine, theirs.sides, first, repeats)
    return Bench(
        setup=_setup(engine),
        wall=Timing(passes["engine"], engine.images),
        evaluations_per_image=engine.evaluations / engine.images,
        calls_per_image=engine.calls / engine.images,
        rows_per_call=engine.rows_per_call,
        warmup_seconds=warmup,
        memory=memory,
        memory_of=memory_of,
        network=time_network(engine),
        diffusers=theirs.result(passes),
        scoring=scoring,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


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


def _setup(engine: TimedEngine) -> Setup:
    spec, settings = engine.experiment.spec, engine.experiment.settings
    return Setup(
        model=spec.model.name,
        model_digest=spec.model.digest,
        task=spec.task.name,
        sampler=spec.sampler.name,
        steps=spec.steps,
        resolution=engine.experiment.source.resolution,
        dtype=spec.dtype,
        compile=settings.compile,
        batch_size=engine.at_once,
        device=engine.device,
        device_name=_device_name(engine.device),
        threads=torch.get_num_threads(),
        versions={name: version(name) for name in ("sde-edit", "torch", "diffusers")},
    )


def _device_name(device: str) -> str:
    """Like engine.attempt.device_name, but with the CPU's model on Linux."""
    file = Path("/proc/cpuinfo")
    if device == "cpu" and file.exists():
        for line in file.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return device_name(device)
