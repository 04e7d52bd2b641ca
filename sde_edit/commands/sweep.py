"""Sweeps: expand to runs, drop what is finished, check the rest, show the plan, launch."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sde_edit.api.launcher import Job
from sde_edit.bench.result import estimate_seconds
from sde_edit.commands.contact_sheets import check_sheets
from sde_edit.commands.run import T_0, Worker, is_finished, run_together, shared, t_0_of
from sde_edit.commands.table import publish_runs
from sde_edit.config import experiment, launcher, sweep_overrides
from sde_edit.engine.execute import ModelCache
from sde_edit.engine.plan import Plan, check_examples, evaluations, notices, plan_run
from sde_edit.errors import UserError
from sde_edit.evaluation.evaluate import check_metrics
from sde_edit.report.formats import markdown
from sde_edit.report.table import Block, Cell, Column, Row, Table
from sde_edit.store.files import write_atomic
from sde_edit.store.runs import RunStore, run_id

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep that is not finished, and the jobs that make it."""

    experiment: Experiment  # as a whole, shard 0 of 1
    plan: Plan
    jobs: tuple[Job, ...]
    counts_encoding: bool  # False where another run of the sweep goes the way up for this one too

    @cached_property
    def evaluations(self) -> int:
        """Rows of the network that are still to be evaluated. Raises UserError for a mistake in an
        example."""
        return evaluations(
            self.experiment, sorted(self.plan.missing), counts_encoding=self.counts_encoding
        )


@dataclass(frozen=True)
class Sweep:
    """What the overrides of a sweep come to, given what is there already."""

    overrides: tuple[str, ...]
    tables: Mapping[str, Mapping[str, Any]]  # name -> config, of the tables asked for
    experiments: tuple[Experiment, ...]
    runs: tuple[PlannedRun, ...]

    @property
    def results(self) -> Path:
        return self.experiments[0].settings.results

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Each once: runs that share their way up have their jobs in common."""
        return tuple(dict.fromkeys(job for run in self.runs for job in run.jobs))


# ------------------------------------------------------------------ plan
def plan_sweep(overrides: Sequence[str]) -> Sweep:
    """Every run of a grid or of tables (`table=table2`), once each. Reads the store only.

    Raises UserError for a wrong key, or missing data or weights.
    """
    combinations, tables = sweep_overrides(overrides)
    composed = {run_id(e.spec): e for e in map(experiment, combinations)}
    experiments = tuple(composed.values())
    planned = [run for group in shared(experiments) for run in _planned(group)]
    order = list(composed)
    planned.sort(key=lambda run: order.index(run_id(run.experiment.spec)))
    return Sweep(tuple(overrides), tables, experiments, tuple(planned))


def _planned(group: Sequence[Experiment]) -> list[PlannedRun]:
    """What is left of the runs of a group, with the jobs that do it for all of them."""
    left = []
    for sharded in group:
        whole = replace(sharded, settings=replace(sharded.settings, shard=0, shards=1))
        run = RunStore(whole.settings.results).find(whole.spec)
        plan = plan_run(whole, run)
        if not (run and is_finished(run, plan, whole.metrics)):
            left.append((sharded, whole, plan))
    jobs = _jobs([sharded for sharded, _, _ in left], [plan for _, _, plan in left])
    top = max((t_0_of(whole) for _, whole, _ in left), default=1.0)
    return [PlannedRun(whole, plan, jobs, t_0_of(whole) == top) for _, whole, plan in left]


def _jobs(sharded: Sequence[Experiment], plans: Sequence[Plan]) -> tuple[Job, ...]:
    """One for each shard with something missing; one in all if only sealing or scoring is left."""
    if not sharded:
        return ()
    overrides, shards = _joined(sharded), sharded[0].settings.shards
    missing = frozenset[str]().union(*(plan.missing for plan in plans))
    if shards == 1 or not missing:
        return (Job((*overrides, "shards=1"), sum(len(plan.missing) for plan in plans)),)
    parts = [[i for batch in plans[0].batches[k::shards] for i in batch] for k in range(shards)]
    images = [sum(len(plan.missing.intersection(part)) for plan in plans) for part in parts]
    return tuple(
        Job((*overrides, f"shard={k}", f"shards={shards}"), n) for k, n in enumerate(images) if n
    )


def _joined(group: Sequence[Experiment]) -> list[str]:
    """The overrides of experiments that share their way up, the t_0 of all in one."""
    first = group[0].overrides
    if len(group) == 1:
        return list(first)
    t_0 = [o.removeprefix(T_0) for e in group for o in e.overrides if o.startswith(T_0)]
    return [*(o for o in first if not o.startswith(T_0)), T_0 + ",".join(t_0)]


# ------------------------------------------------------------------ check
def check_sweep(sweep: Sweep) -> None:
    """Everything that can be known before a job is submitted: launcher, examples, metrics, disk.

    Raises UserError naming the first thing that is wrong and its remedy.
    """
    launcher(sweep.overrides).check()
    _check_disk(sweep)
    metrics = {named.choice.name: named for e in sweep.experiments for named in e.metrics}
    if problems := check_metrics(list(metrics.values())):
        raise UserError("\n".join(problems))
    for config in sweep.tables.values():
        check_sheets(config, metrics)
    checked: dict[str, set[str]] = {}
    for run in sweep.runs:
        spec = run.experiment.spec
        parts = (spec.data, spec.task, spec.model, spec.sampler.digest)
        known = checked.setdefault(repr(parts), set())
        check_examples(run.experiment, sorted(run.plan.missing - known))
        known |= run.plan.missing


def _check_disk(sweep: Sweep) -> None:
    folder = sweep.results
    write_atomic(folder / "sweeps" / ".writable", b"")
    needed, free = disk_bytes(sweep), shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: about {_gib(needed)} will be written and {_gib(free)} are free. Free space "
            "or set paths.results=DIR"
        )


def disk_bytes(sweep: Sweep) -> int:
    """Bytes of the images to come: as large as those there are of the model, else uncompressed."""
    sizes: dict[str, list[int]] = {}
    for run in RunStore(sweep.results).runs():
        sizes.setdefault(run.spec.model.name, []).extend(row.size for row in run.rows().values())
    return round(sum(len(run.plan.missing) * _image_bytes(run, sizes) for run in sweep.runs))


def _image_bytes(run: PlannedRun, sizes: Mapping[str, Sequence[int]]) -> float:
    of_model = sizes.get(run.experiment.spec.model.name)
    return sum(of_model) / len(of_model) if of_model else 3 * run.experiment.source.resolution**2


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**27 else f"{size / 2**20:.1f} MiB"


# ------------------------------------------------------------------ show
def describe_sweep(sweep: Sweep) -> str:
    """The plan as Markdown: what is to be made, what it costs, where the estimate comes from."""
    finished = len(sweep.experiments) - len(sweep.runs)
    of = " ".join(_shared(sweep)) or "the defaults"
    lines = [f"{len(sweep.experiments)} runs of {of}: {finished} finished"]
    if not sweep.runs:
        return lines[0]
    lines += ["", markdown(_plan_table(sweep))]
    images = sum(len(run.plan.missing) for run in sweep.runs)
    evaluations = sum(run.evaluations for run in sweep.runs)
    lines.append(
        f"{len(sweep.jobs)} jobs: {images} images, {evaluations:,} network evaluations, "
        f"{_gib(disk_bytes(sweep))} of disk"
    )
    at_work = (run.experiment for run in sweep.runs if run.plan.missing)
    said = dict.fromkeys(remark for one in at_work for remark in notices(one))
    return "\n".join([*lines, *said, *_estimates(sweep)])


def _plan_table(sweep: Sweep) -> Table:
    columns = tuple(Column("", name) for name in ("images", "evaluations", "hours", "jobs"))
    rows = []
    for run in sweep.runs:
        seconds = _seconds(run)
        texts = (
            f"{len(run.plan.missing)} of {len(run.plan.ids)}",
            f"{run.evaluations:,}",
            "?" if seconds is None else f"{seconds / 3600:.2f}",
            str(len(run.jobs)),
        )
        shared = _shared(sweep)
        label = " ".join(o for o in run.experiment.overrides if o not in shared)
        rows.append(Row(label, "arm", tuple(Cell(text=text) for text in texts)))
    return Table("plan", "", "run", columns, (Block("", tuple(rows)),))


def _shared(sweep: Sweep) -> list[str]:
    """The overrides that all runs have."""
    first, *others = (experiment.overrides for experiment in sweep.experiments)
    return [o for o in first if all(o in other for other in others)] if others else []


def _seconds(run: PlannedRun) -> float | None:
    if not run.evaluations:
        return 0.0
    found = estimate_seconds(run.experiment.settings.results, run.experiment, run.evaluations)
    return found[0] if found else None


def _estimates(sweep: Sweep) -> list[str]:
    """Where the hours come from, or how to get them."""
    runs = [run for run in sweep.runs if run.evaluations]
    found = [estimate_seconds(sweep.results, run.experiment, run.evaluations) for run in runs]
    sources = dict.fromkeys(estimate[1] for estimate in found if estimate)
    total = sum(estimate[0] for estimate in found if estimate) / 3600
    lines = [f"about {total:.2f} hours of one worker, by {source}" for source in sources]
    if None in found:
        model = runs[found.index(None)].experiment.spec
        lines.append(
            "hours are unknown where there is no benchmark: "
            f"sde-edit bench model={model.model.name} dtype={model.dtype}"
        )
    return lines


# ------------------------------------------------------------------ launch
def launch_sweep(sweep: Sweep) -> list[str]:
    """Start the jobs; returns what there is to look at now.

    Raises UserError listing the jobs that failed, if the launcher waits for them.
    """
    finish = Finish(sweep.overrides)
    if not sweep.jobs:
        return finish()
    name = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:6]}"
    folder = (sweep.results / "sweeps" / name).resolve()
    record = {
        "overrides": list(sweep.overrides),
        "host": platform.node(),
        "pid": os.getpid(),
        "started": time.time(),
        "handle": "",
        "jobs": [_job_record(sweep, job) for job in sweep.jobs],
    }
    _write_record(folder, record)
    launched = launcher(sweep.overrides).launch(sweep.jobs, Worker, finish, folder)
    _write_record(folder, record | {"handle": launched.handle})
    if launched.failures:
        lines = [f"{job}: {error}" for job, error in launched.failures.items()]
        raise UserError(f"{len(lines)} of {len(sweep.jobs)} jobs failed\n" + "\n".join(lines))
    if launched.handle:
        return [f"submitted as {launched.handle}; logs in {folder}; see sde-edit status"]
    return finish()


def _job_record(sweep: Sweep, job: Job) -> dict[str, Any]:
    runs = [run_id(run.experiment.spec) for run in sweep.runs if job in run.jobs]
    return {"runs": runs, **asdict(job)}


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    write_atomic(folder / "sweep.json", (json.dumps(record, indent=2) + "\n").encode())


@dataclass(frozen=True)
class Finish:
    """What follows the jobs of a sweep: seal and score what is complete, write the tables.

    Shards that end at the same moment on a network file system may each miss the other's images
    for a while; then it is this that finds the run complete.
    """

    overrides: tuple[str, ...]

    def __call__(self) -> list[str]:
        """The tables written, or the runs if no table was asked for; none while one is unfinished.

        Does nothing that is done already.
        """
        left = plan_sweep(self.overrides)
        for run in left.runs:
            if not run.plan.missing:
                run_together([run.experiment], ModelCache())
        if any(run.plan.missing for run in left.runs):
            return []
        found = (RunStore(left.results).find(e.spec) for e in left.experiments)
        runs = [run for run in found if run]
        written = [
            publish_runs(name, config, runs, left.results) for name, config in left.tables.items()
        ]
        return [str(path) for paths in written for path in paths] or [str(r.path) for r in runs]
