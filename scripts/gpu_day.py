"""The steps of scripts/gpu_day.sh, and the Markdown file that it writes.

python scripts/gpu_day.py OUT.md
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sde_edit.bench.result import markdown

ROOT = Path(__file__).parents[1]  # of the checkout
LIMIT_S = 600  # of a step
LINES = 15  # shown of what a failed step said
QUERIES = {  # line of the file -> columns of nvidia-smi
    "card, driver, memory": "--query-gpu=name,driver_version,memory.total",
    "other processes on it": "--query-compute-apps=pid,used_memory",
}


@dataclass(frozen=True)
class Step:
    """A command of python. label: of its row in the table of benchmarks; "" for other steps."""

    command: tuple[str, ...]
    label: str = ""

    @property
    def shown(self) -> str:
        return shlex.join(("python", *self.command))


@dataclass(frozen=True)
class Outcome:
    """A step that was made. record: of its benchmark; error: why it failed, "" if it did not."""

    step: Step
    seconds: float
    output: str
    error: str = ""
    record: Mapping[str, Any] | None = None


# ------------------------------------------------------------------ the steps
def steps(folder: Path) -> list[Step]:
    """What loads the CPU, random weights and compiling, comes well before a benchmark or last, as
    benchmarks note the load of the minute before. folder: for random weights and for results.
    """
    sd15, adm = folder / "sd15", folder / "adm"
    with_sd15 = ("model=sd15", f"model.path={sd15}")
    eager = [_inpaint(with_sd15, n, images) for n, images in ((1, 8), (8, 32), (32, 64), (64, 64))]
    return [
        Step(("scripts/random_sd15.py", str(sd15))),
        Step(("scripts/random_adm.py", str(adm))),
        Step(("-m", "pytest", "-m", "gpu", "-q", "tests/contracts/test_cuda.py")),
        *eager,
        *(_bench(f"drag with LoRA, {n}", n, n, "task=drag", *with_sd15) for n in (1, 8, 16)),
        *(
            _bench(f"DDIB, ADM 256, {n}", n, n, "task=ddib", "model=adm", f"model.path={adm}")
            for n in (8, 32)
        ),
        *(_bench(f"inpaint, embedded, {n}", n, 512, "model=shapes") for n in (32, 256)),
        _inpaint(with_sd15, 32, 64, "hardware.compile=true"),
    ]


def _inpaint(model: Sequence[str], batch: int, images: int, *overrides: str) -> Step:
    mode = ", compiled" if overrides else ""
    return _bench(f"inpaint, SD 1.5, {batch}{mode}", batch, images, *model, *overrides)


def _bench(label: str, batch: int, images: int, *overrides: str) -> Step:
    common = ("dtype=bfloat16", "steps=25", "hardware.device=cuda", f"hardware.batch_size={batch}")
    command = ("-m", "sde_edit", "bench", *overrides, *common, "--images", str(images), "--json")
    return Step(command, label)


def made(step: Step, folder: Path) -> Outcome:
    """Run a step; what it fails of is part of the outcome."""
    results = (f"paths.results={folder / 'results'}",) if step.label else ()
    command = [sys.executable, *step.command, *results]
    start = time.perf_counter()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        return Outcome(step, LIMIT_S, "", f"not finished after {LIMIT_S} s")
    seconds = time.perf_counter() - start
    said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-LINES:])
    if done.returncode:
        return Outcome(step, seconds, said, f"exit code {done.returncode}")
    if not step.label:
        return Outcome(step, seconds, said)
    try:
        return Outcome(step, seconds, said, record=json.loads(done.stdout))
    except ValueError:
        return Outcome(step, seconds, said, "printed no benchmark")


# ------------------------------------------------------------------ the file
def document(machine: Mapping[str, str], outcomes: Sequence[Outcome]) -> str:
    """The Markdown of the steps so far."""
    facts = [f"- {name}: {value}" for name, value in machine.items()]
    failed = [f"- `{o.step.shown}`: {o.error}" for o in outcomes if o.error]
    parts = [
        "# Measurements on a GPU",
        "\n".join(facts),
        "## Benchmarks",
        table(outcomes),
        "## Failed steps",
        "\n".join(failed) or "none",
        "## Commands",
        *(_section(outcome) for outcome in outcomes),
    ]
    return "\n\n".join(parts) + "\n"


COLUMNS = (
    "benchmark, images at once",
    "seconds per image",
    "minimum",
    "preparation, seconds per image",
    "engine efficiency",
    "speedup over diffusers, one by one",
    "batched",
    "network, TFLOP/s",
    "share of matmul peak",
    "peak memory, GiB",
)


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each benchmark that did not fail."""
    rows = [_row(o.step.label, o.record) for o in outcomes if o.record is not None]
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _row(label: str, record: Mapping[str, Any]) -> tuple[str, ...]:
    before = record["preparation_seconds_per_image"].items()
    faster = [record[f"speedup_vs_diffusers{suffix}"] for suffix in ("", "_batched")]
    return (
        label,
        f"{record['wall_seconds_per_image']:.4g}",
        f"{min(record['wall_seconds_per_image_passes']):.4g}",
        ", ".join(f"{name} {seconds:.3g}" for name, seconds in before) or "-",
        f"{record['engine_efficiency']:.1%}",
        *("-" if speedup is None else f"{speedup:.2f}" for speedup in faster),
        f"{record['network_tflops']:.4g}",
        f"{record['network_share_of_matmul_peak']:.1%}",
        f"{record['peak_memory_bytes'] / 2**30:.1f}",
    )


def _section(outcome: Outcome) -> str:
    """The command, and its full table or what it said."""
    head = f"```\n{outcome.step.shown}\n```\n\n"
    if outcome.record is not None:
        return f"{head}{markdown(outcome.record)}\n\nTook {outcome.seconds:.0f} s."
    ended = outcome.error or "done"
    said = f"\n\n```\n{outcome.output}\n```" if outcome.output else ""
    return f"{head}{ended}, {outcome.seconds:.0f} s{said}"


def machine() -> dict[str, str]:
    """The card, who else uses it, and versions."""
    found = {}
    for name, query in QUERIES.items():
        command = ["nvidia-smi", query, "--format=csv,noheader"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[name] = "; ".join(lines.strip().splitlines()) or "none"
    found |= {name: version(name) for name in ("sde-edit", "torch", "diffusers")}
    return found | {"started": datetime.now(UTC).isoformat(timespec="minutes")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    facts, outcomes = machine(), []
    with tempfile.TemporaryDirectory(prefix="gpu-day-") as folder:
        for step in steps(Path(folder)):
            print(step.shown, flush=True)
            outcomes.append(made(step, Path(folder)))
            print(outcomes[-1].error or f"done in {outcomes[-1].seconds:.0f} s", flush=True)
            out.write_text(document(facts, outcomes))
    print(out)


if __name__ == "__main__":
    main()
