"""The result of a benchmark: its JSON, Markdown and file; and estimates of run times from it.

Imports no torch. Seconds are wall-clock seconds; a row is one latent in a network call, and an
evaluation is one row evaluated once.
"""

from __future__ import annotations

import json
import logging
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from sde_edit.errors import UserError, first_problem
from sde_edit.store.files import (
    DamagedFileError,
    canonical,
    read_given,
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
    task_settings: Mapping[str, Any]
    sampler: str
    sampler_settings: Mapping[str, Any]
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
class Load:
    """What the machine did before a benchmark.

    average: how many processes ran in the minute before, on average; None where the system does not
    tell. cores: that the benchmark may use.
    """

    average: float | None
    cores: int

    @property
    def busy(self) -> bool | None:
        """Whether other work took more than a quarter of the cores; None if that is unknown."""
        return None if self.average is None else self.average > self.cores / 4


@dataclass(frozen=True)
class Bench:
    """A benchmark. preparations: seconds per image of each, by name; `wall` does not hold them.

    memory: peak in bytes, of what `memory_of` names.
    """

    setup: Setup
    wall: Timing
    preparations: Mapping[str, float]
    evaluations_per_image: float
    calls_per_image: float
    rows_per_call: int
    warmup_seconds: float
    memory: int
    memory_of: str
    network: Network
    diffusers: Diffusers
    scoring: Scoring
    load: Load
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
        "load_average": bench.load.average,
        "usable_cores": bench.load.cores,
        "busy": bench.load.busy,
        **bench.wall.json("wall_seconds_per_image"),
        "preparation_seconds_per_image": dict(bench.preparations),
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


# ------------------------------------------------------------------ as text
Record = Mapping[str, Any]  # a stored benchmark: what `as_json` gives


@dataclass(frozen=True)
class _Row:
    """A measure of a record: its number, None if it has none, and how the table shows it."""

    name: str
    number: float | None
    text: str


def markdown(record: Record) -> str:
    """A heading line and a two-column table."""
    lines = [f"| {row.name} | {row.text} |" for row in _rows(record)]
    return "\n".join([headline(record), "", "| measure | value |", "|---|---|", *lines])


def comparison(old: Record, new: Record) -> str:
    """Two heading lines, and a table of every number that both have, with the ratio new / old."""
    before = {row.name: row for row in _rows(old) if row.number is not None}
    pairs = [(before[r.name], r) for r in _rows(new) if r.number is not None and r.name in before]
    lines = [f"| {b.name} | {b.text} | {a.text} | {_ratio(a.number, b.number)} |" for b, a in pairs]
    head = [f"old: {headline(old)}", "", f"new: {headline(new)}", ""]
    return "\n".join([*head, "| measure | old | new | new / old |", "|---|---|---|---|", *lines])


def _ratio(new: float | None, old: float | None) -> str:
    return f"{new / old:.3g}" if new is not None and old else "-"


def headline(record: Record) -> str:
    """What was timed, on what and when, and whether the machine was busy."""
    r = record
    mode = "compiled" if r["compile"] else "eager"
    versions = ", ".join(f"{name} {number}" for name, number in r["versions"].items())
    busy = f"; {_busy(r)}" if r.get("busy") else ""
    return (
        f"{r['model']} {r['task']} {r['sampler']}, {r['steps']} steps at "
        f"{r['resolution']}x{r['resolution']}, {r['dtype']}, {mode}, {r['batch_size']} images at "
        f"once, on {r['device_name']} ({r['threads']} CPU threads), {versions}, {r['date'][:10]}"
        f"{busy}"
    )


def _busy(r: Record) -> str:
    return (
        f"measured on a busy machine: the load average was {r['load_average']:.2f} before the "
        f"start, on {r['usable_cores']} cores"
    )


def _rows(record: Record) -> list[_Row]:
    """The measures that the record has; one from an older version may have fewer."""
    named = [(name, key, text) for name, key, text in _MEASURES if key in record]
    rows = [_Row(name, record[key], text(record)) for name, key, text in named]
    before = _each(record, "preparation_seconds_per_image", "{} before, seconds per image")
    by_rows = _each(
        record,
        "network_seconds_per_evaluation_by_rows",
        "seconds per evaluation, bare network, rows={}",
    )
    return [*before, *(row for row in rows if row.text), *by_rows]


def _each(record: Record, key: str, name: str) -> list[_Row]:
    """A row for each number of a mapping."""
    return [_Row(name.format(k), v, f"{v:.3g}") for k, v in record.get(key, {}).items()]


def _timing(key: str, reason: str = "") -> Callable[[Record], str]:
    """Median and minimum of the passes. reason: the key that says why there are none."""

    def text(r: Record) -> str:
        if r[key] is None:
            return f"none: {r[reason]}"
        passes = r[f"{key}_passes"]
        counted = f"{len(passes)} passes over {r[f'{key}_images']} images"
        return f"{r[key]:.4g} (minimum {min(passes):.4g}, {counted})"

    return text


def _speedup(key: str) -> Callable[[Record], str]:
    return lambda r: "" if r[key] is None else f"{r[key]:.2f}"


def _memory(r: Record) -> str:
    return f"{r['peak_memory_bytes'] / 2**30:.2f} GiB ({r['peak_memory_of']})"


def _growth(r: Record) -> str:
    growth = r["scoring_memory_growth_bytes"]
    size = "unknown" if growth is None else f"{growth / 2**20:.1f} MiB"
    return f"{size} over {r['scoring_images']} images"


def _load(r: Record) -> str:
    average = r["load_average"]
    return "unknown" if average is None else f"{average:.2f} on {r['usable_cores']} cores"


_MEASURES: tuple[tuple[str, str, Callable[[Record], str]], ...] = (  # name, key, text
    ("seconds per image", "wall_seconds_per_image", _timing("wall_seconds_per_image")),
    ("warm-up, compiling included", "warmup_seconds", "{warmup_seconds:.1f} s".format_map),
    ("evaluations per image", "evaluations_per_image", "{evaluations_per_image:g}".format_map),
    (
        "calls per image",
        "calls_per_image",
        "{calls_per_image:g} of {rows_per_call} rows".format_map,
    ),
    (
        "seconds per evaluation, engine",
        "seconds_per_evaluation",
        "{seconds_per_evaluation:.3g}".format_map,
    ),
    ("engine efficiency", "engine_efficiency", "{engine_efficiency:.1%}".format_map),
    ("peak memory", "peak_memory_bytes", _memory),
    (
        "seconds per evaluation, bare network",
        "network_seconds_per_evaluation",
        "{network_seconds_per_evaluation:.3g} with {network_best_rows} rows".format_map,
    ),
    ("one evaluation", "gflop_per_evaluation", "{gflop_per_evaluation:.4g} GFLOP".format_map),
    (
        "matrix product, best",
        "matmul_peak_tflops",
        "{matmul_peak_tflops:.3g} TFLOP/s at {matmul_peak_size}".format_map,
    ),
    (
        "network",
        "network_tflops",
        "{network_tflops:.3g} TFLOP/s, {network_share_of_matmul_peak:.1%} of that".format_map,
    ),
    (
        "engine",
        "engine_tflops",
        "{engine_tflops:.3g} TFLOP/s, {engine_share_of_matmul_peak:.1%} of that".format_map,
    ),
    (
        "diffusers, image by image, seconds per image",
        "diffusers_seconds_per_image",
        _timing("diffusers_seconds_per_image", "diffusers_reason"),
    ),
    (
        "speedup over diffusers, image by image",
        "speedup_vs_diffusers",
        _speedup("speedup_vs_diffusers"),
    ),
    (
        "diffusers, batched, seconds per image",
        "diffusers_batched_seconds_per_image",
        _timing("diffusers_batched_seconds_per_image", "diffusers_reason"),
    ),
    (
        "speedup over diffusers, batched",
        "speedup_vs_diffusers_batched",
        _speedup("speedup_vs_diffusers_batched"),
    ),
    ("growth of memory while scoring", "scoring_memory_growth_bytes", _growth),
    ("load average before the start", "load_average", _load),
)


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
    device: str = ""
    busy: bool | None = None  # older versions did not look


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


def read_benchmark(file: Path) -> dict[str, Any]:
    """A stored benchmark. Raises UserError naming the file if it is none."""
    content = read_given(file)
    try:
        _STORED.validate_json(content, strict=True)
    except ValidationError as error:
        problem = f"{file}: is no benchmark ({first_problem(error)})"
        raise UserError(f"{problem}. Give a file of <results>/bench/") from error
    found: dict[str, Any] = json.loads(content)
    return found


_SAME = ("task", "model", "sampler", "steps", "resolution", "dtype", "device_name")


def check_comparable(old: Record, setup: Setup) -> None:
    """Raises UserError if a stored benchmark timed something else, or on another device."""
    there, here = _identity(old), _identity(json.loads(json.dumps(asdict(setup))))
    # Older versions stored no settings.
    known = [*here, *there] if "task_settings" in old else _SAME
    other = [
        f"{key}={there.get(key)} instead of {here.get(key)}"
        for key in dict.fromkeys(known)
        if there.get(key) != here.get(key)
    ]
    if other:
        raise UserError(
            f"--compare: the stored benchmark has {', '.join(other)}; compare with one that has "
            "the same task, model, sampler, steps, size, dtype and device"
        )


def _identity(record: Record) -> dict[str, Any]:
    """What two benchmarks must have in common, the settings of task and sampler one by one."""
    found = {key: record.get(key) for key in _SAME}
    for part in ("task", "sampler"):
        settings = record.get(f"{part}_settings", {})
        found |= {f"{part}.{key}": value for key, value in settings.items()}
    return found


def estimate_seconds(
    benchmarks: Sequence[Record],
    experiment: Experiment,
    evaluations: int,
    pixels: float,
    device: Device,
) -> tuple[float, str] | None:
    """Estimated seconds of one worker for so many network evaluations, and a line on the source.

    benchmarks: all that are stored, see `records`. It uses one with the same weights and dtype,
    rather one of the same device than of the same kind of device, and rather that than any other;
    of several the newest. None without one. pixels: of an image, on average; an evaluation takes
    time in proportion.
    """
    wanted = (experiment.spec.model.digest, experiment.spec.dtype)
    same = [r for r in benchmarks if (r["model_digest"], r["dtype"]) == wanted]
    if not same:
        return None
    nearest = max(same, key=lambda r: (device.likeness(r), str(r["date"])))
    each = float(nearest["seconds_per_evaluation"]) * pixels / nearest["resolution"] ** 2
    measured = f"measured {nearest['date'][:10]}"
    busy = " on a busy machine" if nearest.get("busy") else ""
    where = nearest["device_name"]
    return each * evaluations, f"{each:.2g} s per evaluation on {where}, {measured}{busy}"


@dataclass(frozen=True)
class Device:
    """Where runs will be made. kind: cpu or cuda. name: its name, "" if that is not known yet."""

    kind: str
    name: str = ""

    def likeness(self, record: Record) -> int:
        """2 for a benchmark of the same device, 1 for one of its kind, else 0."""
        if self.name and record["device_name"] == self.name:
            return 2
        return int(str(record.get("device", "")).partition(":")[0] == self.kind)
