"""The result of a benchmark: its JSON, Markdown and file; and estimates of run times from it.

Imports no torch. Seconds are wall-clock seconds; a row is one latent in a network call, and an
evaluation is one row evaluated once.
"""

from __future__ import annotations

import json
import logging
import re
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from sde_edit.store.files import (
    DamagedFileError,
    canonical,
    read_record,
    read_regular,
    short_digest,
)

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment

log = logging.getLogger("sde_edit")


# ------------------------------------------------------------------ the result
@dataclass(frozen=True)
class Timing:
    """Seconds per image, one value per timed pass over `images` images."""

    seconds: tuple[float, ...]
    images: int

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def json(self, name: str) -> dict[str, Any]:
        """The median under `name`, with the passes and the number of images beside it."""
        return {name: self.median, f"{name}_passes": self.seconds, f"{name}_images": self.images}


@dataclass(frozen=True)
class Setup:
    """What was timed and on what. batch_size: images at once, after any halving for memory."""

    model: str
    model_digest: str
    task: str
    sampler: str
    steps: int
    resolution: int
    dtype: str
    compile: bool
    batch_size: int
    device: str
    device_name: str
    threads: int
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Network:
    """The bare network: seconds per evaluation by number of rows per call, and FLOPs.

    matmul: FLOP/s of the fastest square matrix product, of size matmul_size, in the same dtype.
    """

    seconds_by_rows: Mapping[int, float]
    flops_per_evaluation: int
    matmul: float
    matmul_size: int

    @property
    def best_rows(self) -> int:
        """The number of rows with the fewest seconds per evaluation."""
        return min(self.seconds_by_rows, key=lambda rows: self.seconds_by_rows[rows])

    @property
    def seconds(self) -> float:
        """Seconds per evaluation at best_rows."""
        return self.seconds_by_rows[self.best_rows]


@dataclass(frozen=True)
class Diffusers:
    """diffusers' own pipeline, image by image and batched; `reason` explains a None."""

    single: Timing | None = None
    batched: Timing | None = None
    reason: str = ""


@dataclass(frozen=True)
class Scoring:
    """By how many bytes scoring `images` images grows the process after the first quarter.

    growth: None where the system does not tell.
    """

    images: int
    growth: int | None


@dataclass(frozen=True)
class Bench:
    """A benchmark. memory: peak in bytes, of what `memory_of` names."""

    setup: Setup
    wall: Timing
    evaluations_per_image: float
    calls_per_image: float
    rows_per_call: int
    warmup_seconds: float
    memory: int
    memory_of: str
    network: Network
    diffusers: Diffusers
    scoring: Scoring
    date: str

    @property
    def seconds_per_evaluation(self) -> float:
        """Wall seconds of the engine per evaluation, everything included."""
        return self.wall.median / self.evaluations_per_image

    @property
    def engine_efficiency(self) -> float:
        """The bare network's best time as a share of the wall time; 1 is ideal."""
        return self.network.seconds / self.seconds_per_evaluation


def as_json(bench: Bench) -> dict[str, Any]:
    """A flat, JSON-serialisable dictionary with the keys of docs/performance.md."""
    return {
        **asdict(bench.setup),
        "date": bench.date,
        **bench.wall.json("wall_seconds_per_image"),
        "warmup_seconds": bench.warmup_seconds,
        "evaluations_per_image": bench.evaluations_per_image,
        "calls_per_image": bench.calls_per_image,
        "rows_per_call": bench.rows_per_call,
        "seconds_per_evaluation": bench.seconds_per_evaluation,
        "engine_efficiency": bench.engine_efficiency,
        **_network_json(bench),
        **_diffusers_json(bench),
        "peak_memory_bytes": bench.memory,
        "peak_memory_of": bench.memory_of,
        "scoring_memory_growth_bytes": bench.scoring.growth,
        "scoring_images": bench.scoring.images,
    }


def _network_json(bench: Bench) -> dict[str, Any]:
    network, tera = bench.network, 1e12
    bare = network.flops_per_evaluation / network.seconds
    engine = network.flops_per_evaluation / bench.seconds_per_evaluation
    by_rows = {str(rows): seconds for rows, seconds in network.seconds_by_rows.items()}
    return {
        "network_seconds_per_evaluation": network.seconds,
        "network_best_rows": network.best_rows,
        "network_seconds_per_evaluation_by_rows": by_rows,
        "gflop_per_evaluation": network.flops_per_evaluation / 1e9,
        "matmul_peak_tflops": network.matmul / tera,
        "matmul_peak_size": network.matmul_size,
        "network_tflops": bare / tera,
        "network_share_of_matmul_peak": bare / network.matmul,
        "engine_tflops": engine / tera,
        "engine_share_of_matmul_peak": engine / network.matmul,
    }


def _diffusers_json(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = {"diffusers_reason": bench.diffusers.reason or None}
    sides = {"": bench.diffusers.single, "_batched": bench.diffusers.batched}
    for suffix, timing in sides.items():
        name = f"diffusers{suffix}_seconds_per_image"
        found |= timing.json(name) if timing else {name: None}
        speedup = timing.median / bench.wall.median if timing else None
        found[f"speedup_vs_diffusers{suffix}"] = speedup
    return found


def markdown(bench: Bench) -> str:
    """A heading line and a two-column table."""
    s = bench.setup
    mode = "compiled" if s.compile else "eager"
    versions = ", ".join(f"{name} {number}" for name, number in s.versions.items())
    head = (
        f"{s.model} {s.task} {s.sampler}, {s.steps} steps at {s.resolution}x{s.resolution}, "
        f"{s.dtype}, {mode}, {s.batch_size} images at once, on {s.device_name} "
        f"({s.threads} CPU threads), {versions}, {bench.date[:10]}"
    )
    cells = [
        *_engine_rows(bench),
        *_network_rows(bench),
        *_diffusers_rows(bench),
        _scoring_row(bench),
    ]
    lines = [f"| {name} | {value} |" for name, value in cells]
    return "\n".join([head, "", "| measure | value |", "|---|---|", *lines])


def _engine_rows(bench: Bench) -> list[tuple[str, str]]:
    return [
        ("seconds per image", _timing(bench.wall)),
        ("warm-up, compiling included", f"{bench.warmup_seconds:.1f} s"),
        ("evaluations per image", f"{bench.evaluations_per_image:g}"),
        ("calls per image", f"{bench.calls_per_image:g} of {bench.rows_per_call} rows"),
        ("seconds per evaluation, engine", f"{bench.seconds_per_evaluation:.3g}"),
        ("engine efficiency", f"{bench.engine_efficiency:.1%}"),
        ("peak memory", f"{bench.memory / 2**30:.2f} GiB ({bench.memory_of})"),
    ]


def _network_rows(bench: Bench) -> list[tuple[str, str]]:
    network, values = bench.network, _network_json(bench)
    sizes = ", ".join(f"{rows}: {s:.3g}" for rows, s in network.seconds_by_rows.items())
    best = f"{network.seconds:.3g} with {network.best_rows} rows"
    peak = f"{values['matmul_peak_tflops']:.3g} TFLOP/s at {network.matmul_size}"
    rows = [
        ("seconds per evaluation, bare network", best),
        ("the same by rows", sizes),
        ("one evaluation", f"{values['gflop_per_evaluation']:.4g} GFLOP"),
        ("matrix product, best", peak),
    ]
    for who in ("network", "engine"):
        share = values[f"{who}_share_of_matmul_peak"]
        rows.append((who, f"{values[f'{who}_tflops']:.3g} TFLOP/s, {share:.1%} of that"))
    return rows


def _diffusers_rows(bench: Bench) -> list[tuple[str, str]]:
    sides = {"image by image": bench.diffusers.single, "batched": bench.diffusers.batched}
    rows = []
    for name, timing in sides.items():
        if timing is None:
            rows.append((f"diffusers, {name}", f"none: {bench.diffusers.reason}"))
        else:
            rows.append((f"diffusers, {name}, seconds per image", _timing(timing)))
            speedup = f"{timing.median / bench.wall.median:.2f}"
            rows.append((f"speedup over diffusers, {name}", speedup))
    return rows


def _scoring_row(bench: Bench) -> tuple[str, str]:
    images, growth = bench.scoring.images, bench.scoring.growth
    size = "unknown" if growth is None else f"{growth / 2**20:.1f} MiB"
    return f"memory that scoring {images} images adds after a quarter of them", size


def _timing(timing: Timing) -> str:
    low, high = min(timing.seconds), max(timing.seconds)
    passes = f"{len(timing.seconds)} passes over {timing.images} images"
    return f"{timing.median:.4g} ({low:.4g} to {high:.4g}, {passes})"


# ------------------------------------------------------------------ on disk
@dataclass(frozen=True)
class _Stored:
    """What estimates read of a stored benchmark."""

    date: str
    model_digest: str
    dtype: str
    resolution: int
    device_name: str
    seconds_per_evaluation: float


_STORED = TypeAdapter(_Stored)


def record_path(results: Path, measured: Bench) -> Path:
    """The file of a benchmark; a later one with the same setup replaces it."""
    s = measured.setup
    digest = short_digest(canonical(asdict(s)), 8)
    parts = (s.model, s.task, s.dtype, s.device_name, digest)
    name = "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", part).strip("-").lower() for part in parts)
    return results / "bench" / f"{name}.json"


def records(results: Path) -> list[dict[str, Any]]:
    """Every stored benchmark, oldest first, as `sde-edit bench --json` prints it."""
    found = []
    for file in (results / "bench").glob("*.json"):
        try:
            read_record(file, _STORED, "Remove it, and give the `sde-edit bench` command again")
            found.append(json.loads(read_regular(file)))
        except FileNotFoundError:
            continue  # deleted while they were listed
        except DamagedFileError as error:
            log.warning("left out: %s", error)
    return sorted(found, key=lambda record: str(record["date"]))


def estimate_seconds(
    results: Path, experiment: Experiment, evaluations: int, pixels: float
) -> tuple[float, str] | None:
    """Estimated seconds of one worker for so many network evaluations, and a line on the source.

    It uses the newest benchmark with the same weights and dtype, on any device; None without one.
    pixels: of an image, on average; an evaluation takes time in proportion.
    """
    wanted = (experiment.spec.model.digest, experiment.spec.dtype)
    same = [r for r in records(results) if (r["model_digest"], r["dtype"]) == wanted]
    if not same:
        return None
    newest = same[-1]
    each = float(newest["seconds_per_evaluation"]) * pixels / newest["resolution"] ** 2
    measured = f"measured {newest['date'][:10]}"
    return each * evaluations, f"{each:.2g} s per evaluation on {newest['device_name']}, {measured}"
