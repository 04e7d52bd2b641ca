"""How much CPU time do commands take for each run of a large store?

    python scripts/bench_store.py [--runs 504] [--images 16] [--folder DIR]

Makes up a store: the runs of Table 2 with many seeds, in the layout of real runs, with images of
noise and made-up scores of every metric.
Nothing is left to do in it. Then gives each command once, in a
process of its own, and prints its CPU seconds, in all and for each run. The start is part of them:
--runs 24 shows how large it is.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sde_edit.api.experiment import Experiment
from sde_edit.api.metric import NamedMetric, Score
from sde_edit.config import experiment
from sde_edit.engine.output import ImageWriter
from sde_edit.evaluation.evaluate import score_path
from sde_edit.evaluation.per_image import PerImageMetric
from sde_edit.overrides import expand
from sde_edit.store.files import write_atomic
from sde_edit.store.runs import (
    AttemptRecord,
    ImageRecord,
    Run,
    RunStore,
    output_name,
    pixels_digest,
    write_score,
)

RUNS_OF_A_SEED = 24
GRID = ("sampler=ode,sde", "task.guidance=1,7.5", "data.masks=small,large", "steps=25,50,100")


# ------------------------------------------------------------------ a store
def make_store(overrides: Sequence[str]) -> int:
    """Write the finished runs of the grid; return their number."""
    combinations = expand([*GRID, *overrides])
    for number, combination in enumerate(combinations):
        make_run(experiment(combination), np.random.default_rng(number))
    return len(combinations)


def make_run(one: Experiment, rng: np.random.Generator) -> None:
    """A finished run of an experiment: its images, their records, an attempt, a seal and scores."""
    run, ids = RunStore(one.settings.results).open(one.spec), one.dataset.ids()
    ids = ids[: one.settings.limit]
    with ImageWriter(run, "attempt") as writer:
        for example_id in ids:
            pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
            digest, calls = pixels_digest(pixels), float(one.spec.steps)
            costs = {"seconds": 0.1, "evaluations": calls, "calls": calls}
            where = {"device": "cpu", "dtype": one.spec.dtype}
            writer.write(
                ImageRecord(example_id, output_name(example_id), 0, digest, **costs, **where),
                pixels,
            )
    record = AttemptRecord("attempt", one.overrides, images=len(ids), started=0.0, ended=1.0)
    write_atomic(run.attempt_file("attempt"), record.to_json().encode())
    run.write_seal(ids, of=len(one.dataset.ids()))
    for named in one.metrics:
        write_score(score_path(run, named), made_up(run, named, ids, rng))


def made_up(run: Run, named: NamedMetric, ids: Sequence[str], rng: np.random.Generator) -> Score:
    """A score of the run with as many numbers as a measured one."""
    spec, metric, seal = named.spec, named.metric, run.seal
    assert seal
    value, *replicates = rng.normal(1, 0.1, metric.resamplings + 1).tolist()
    single = isinstance(metric, PerImageMetric)
    return Score(
        metric=spec.name,
        kind=spec.kind,
        version=spec.version,
        settings=dict(spec.params),
        convention=metric.convention(),
        higher_is_better=metric.higher_is_better,
        seal=seal.digest,
        value=value,
        low=value - 0.2,
        high=value + 0.2,
        n=len(ids),
        replicates=replicates,
        per_example=dict.fromkeys(ids, value) if single else None,
        tolerance=metric.tolerance,
    )


# ------------------------------------------------------------------ the commands
def cpu_seconds(arguments: Sequence[str]) -> float:
    """What `sde-edit` takes with these arguments, in user and system time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "sde_edit", *arguments]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=504, help="A multiple of 24.")
    parser.add_argument("--images", type=int, default=16, help="Of each run.")
    parser.add_argument("--folder", type=Path, help="Kept, and used again if it is there.")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        seeds = ",".join(map(str, range(chosen.runs // RUNS_OF_A_SEED)))
        where = [f"paths.results={folder}"]
        grid = [f"seed={seeds}", f"data.limit={chosen.images}"]
        runs = len(list(folder.glob("runs/*"))) or make_store([*grid, *where])
        commands = {
            "table": ["table", "table2", "seed=0", *where],
            "summary": ["summary", *GRID, *grid, *where],
            "sweep --dry-run": ["sweep", *GRID, *grid, *where, "--dry-run"],
            "run": ["run", *GRID, *grid, *where],
            "runs": ["runs", *where],
        }
        for name, arguments in commands.items():
            seconds = cpu_seconds(arguments)
            print(f"{name}: {seconds:.1f} CPU s, {seconds / runs:.4f} a run of {runs}", flush=True)


if __name__ == "__main__":
    main()
