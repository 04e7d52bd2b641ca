"""Sweeps: expands to runs, drops finished ones, checks the rest, launches."""

from __future__ import annotations

import math
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

from sde_edit.api.launcher import Job, Launched
from sde_edit.bench.flops import flops_per_evaluation
from sde_edit.bench.result import Record, records
from sde_edit.commands.contact_sheets import check_sheets
from sde_edit.commands.foreseen import rehearse_tables
from sde_edit.commands.run import (
    Worker,
    check_wanted_metrics,
    is_finished,
    run_all,
    without_empty_runs,
)
from sde_edit.commands.table import publish_runs
from sde_edit.config import experiment, launcher, sweep_overrides, use_plugins
from sde_edit.engine.attempt import check_machine, slurm_job
from sde_edit.engine.plan import Plan, pixels, plan_run
from sde_edit.engine.producer import inspect_missing
from sde_edit.engine.shared_encoding import group_by_shared_encoding
from sde_edit.errors import UserError
from sde_edit.store.files import canonical, write_atomic
from sde_edit.store.runs import RunStore, run_id
from sde_edit.store.sweeps import SweepRecord

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment
    from sde_edit.api.spec import RunSpec


@dataclass(frozen=True)
class PlannedRun:
    """An unfinished run of a sweep and the jobs that make it."""

    experiment: Experiment  # as a whole, shard 0 of 1
    plan: Plan
    jobs: tuple[Job, ...]

    @property
    def pixels(self) -> float:
        """Of a missing image, on average; 0 if none is missing."""
        missing = self.plan.missing
        return pixels(self.experiment, self.plan, missing) / max(1, len(missing))


@dataclass(frozen=True)
class Sweep:
    """What the overrides of a sweep ask for, and which runs are not finished."""

    overrides: tuple[str, ...]
    tables: Mapping[str, Mapping[str, Any]]  # name -> config, of the tables asked for
    experiments: tuple[Experiment, ...]
    runs: tuple[PlannedRun, ...]
    tflops: float | None = None  # that the device sustains, in TFLOP/s

    @property
    def results(self) -> Path:
        return self.experiments[0].settings.results

    @property
    def written(self) -> Mapping[str, Mapping[str, Any]]:
        """The tables that it writes: without any metric, those that show none."""
        if any(one.metrics for one in self.experiments):
            return self.tables
        return {n: config for n, config in self.tables.items() if config.get("metrics") == []}

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Each job once; runs that share their encoding have their jobs in common."""
        return tuple(dict.fromkeys(job for run in self.runs for job in run.jobs))

    @cached_property
    def on_gpu(self) -> bool | None:
        """Whether jobs elsewhere get a GPU; None for jobs on this machine."""
        return launcher(self.overrides).on_gpu

    @cached_property
    def evaluations(self) -> tuple[int, ...]:
        """The network evaluations that each run still costs, in the order of `runs`.

        Counting them decodes and checks every missing example, once for plan and check together.
        Raises UserError for an example that cannot be used.
        """
        outlooks = inspect_missing([(run.experiment, run.plan) for run in self.runs])
        return tuple(outlook.evaluations for outlook in outlooks)

    @cached_property
    def flops(self) -> Mapping[str, int]:
        """The floating-point operations of an evaluation, by the digest of the model.

        Raises UserError for a model whose operations cannot be counted.
        """
        models = {run.experiment.spec.model.digest: run.experiment for run in self.runs}
        return {digest: flops_per_evaluation(one) for digest, one in models.items()}

    @cached_property
    def disk_bytes(self) -> int:
        """Estimated bytes of the missing images: as those stored of the same model and data set,
        else uncompressed."""
        lacking = [run for run in self.runs if run.plan.missing]
        stored: dict[tuple[str, str], list[int]] = {_source(r.experiment.spec): [] for r in lacking}
        for run in RunStore(self.results).runs() if lacking else ():
            if (source := _source(run.spec)) in stored:
                stored[source].extend(row.size for row in run.rows().values())
        return round(sum(len(run.plan.missing) * _image_bytes(run, stored) for run in lacking))

    @cached_property
    def benchmarks(self) -> Sequence[Record]:
        """The stored benchmarks, from which hours are estimated."""
        return records(self.results)


# ------------------------------------------------------------------ plan
def plan_sweep(overrides: Sequence[str], tflops: float | None = None) -> Sweep:
    """Every run of a grid or of tables (`table=table2`), once each. Reads only the store.

    tflops: what the device sustains, in TFLOP/s, for hours that no benchmark tells. Raises
    UserError for a wrong key, missing data or weights, and for a speed that is not above 0.
    """
    if tflops is not None and not 0 < tflops < math.inf:
        raise UserError(f"--tflops {tflops:g}: must be above 0, such as 495 for half of an H100")
    combinations, tables = sweep_overrides(overrides)
    on_gpu = launcher(overrides).on_gpu
    every = (experiment(combination, on_gpu=on_gpu) for combination in combinations)
    composed = {run_id(e.spec): e for e in every}
    experiments = tuple(composed.values())
    groups = group_by_shared_encoding(experiments)
    planned = [run for group in groups for run in _planned(group)]
    order = list(composed)
    planned.sort(key=lambda run: order.index(run_id(run.experiment.spec)))
    return Sweep(tuple(overrides), tables, experiments, tuple(planned), tflops)


def _planned(group: Sequence[Experiment]) -> list[PlannedRun]:
    """The unfinished runs of a group, with the jobs that make them together."""
    left = []
    for sharded in group:
        whole = replace(sharded, settings=replace(sharded.settings, shard=0, shards=1))
        run = RunStore(whole.settings.results).find(whole.spec)
        plan = plan_run(whole, run)
        if not (run and is_finished(run, plan, whole.metrics)):
            left.append((sharded, whole, plan))
    jobs = _jobs([sharded for sharded, _, _ in left], [plan for _, _, plan in left])
    return [PlannedRun(whole, plan, jobs) for _, whole, plan in left]


def _jobs(sharded: Sequence[Experiment], plans: Sequence[Plan]) -> tuple[Job, ...]:
    """A job per shard that lacks images; a single one if only seals or scores are missing."""
    if not sharded:
        return ()
    shards = sharded[0].settings.shards
    missing = frozenset[str]().union(*(plan.missing for plan in plans))
    if shards == 1 or not missing:
        return (_job(sharded, sum(len(plan.missing) for plan in plans), "shards=1"),)
    parts = [[i for batch in plans[0].batches[k::shards] for i in batch] for k in range(shards)]
    images = [sum(len(plan.missing.intersection(part)) for plan in plans) for part in parts]
    return tuple(
        _job(sharded, n, f"shard={k}", f"shards={shards}") for k, n in enumerate(images) if n
    )


def _job(group: Sequence[Experiment], images: int, *shard: str) -> Job:
    return Job(tuple((*member.overrides, *shard) for member in group), images)


# ------------------------------------------------------------------ check
def check_sweep(sweep: Sweep, *, force: bool = False) -> None:
    """Check all that can be known before jobs start.

    These are launcher, machine, disk, the metrics whose scores are missing, sheets, examples and,
    if a run is left to make, that the tables can be made of the runs and, unless `force` is given,
    that none is replaced by one that rests on less. Raises UserError naming the first problem and
    its remedy.
    """
    chosen = launcher(sweep.overrides)
    chosen.check()
    if chosen.on_gpu is None:  # jobs run on this machine
        for run in sweep.runs:
            if run.plan.missing:
                check_machine(run.experiment.settings)
    _check_disk(sweep)
    check_wanted_metrics([run.experiment for run in sweep.runs])
    metrics = {named.spec.name: named for e in sweep.experiments for named in e.metrics}
    for config in sweep.written.values():
        check_sheets(config, metrics)
    if sweep.runs:
        rehearse_tables(sweep.experiments, sweep.written, sweep.results, force=force)
    _ = sweep.evaluations  # checks the examples


def _check_disk(sweep: Sweep) -> None:
    folder = sweep.results
    write_atomic(folder / "sweeps" / ".writable", b"")
    needed, free = sweep.disk_bytes, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: about {gib(needed)} will be written and {gib(free)} are free. Free space "
            "or set paths.results=DIR"
        )


def _source(spec: RunSpec) -> tuple[str, str]:
    """What decides how large the files of images are."""
    return spec.model.name, canonical(asdict(spec.data))


def _image_bytes(run: PlannedRun, stored: Mapping[tuple[str, str], Sequence[int]]) -> float:
    same = stored[_source(run.experiment.spec)]
    return sum(same) / len(same) if same else 3 * run.pixels


def gib(size: float) -> str:
    """A number of bytes in GiB, or in MiB below an eighth of one."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**27 else f"{size / 2**20:.1f} MiB"


# ------------------------------------------------------------------ launch
def launch_sweep(sweep: Sweep, *, force: bool = False) -> list[str]:
    """Start the jobs; return lines for the user: the results, or where to follow the jobs.

    force: replace tables that rest on more images or runs.

    Raises UserError listing the jobs that failed, if the launcher waits for them.
    """
    finish = Finish(sweep.overrides, force)
    if not sweep.jobs:
        return finish()
    name = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:6]}"
    folder = (sweep.results / "sweeps" / name).resolve()
    record = SweepRecord(
        overrides=sweep.overrides,
        host=platform.node(),
        pid=os.getpid(),
        started=time.time(),
        jobs=[_job_record(sweep, job) for job in sweep.jobs],
    )
    record.write(folder)
    with without_empty_runs(sweep.experiments):
        launched = _launched(sweep, finish, folder)
        replace(record, handle=launched.handle).write(folder)
        if launched.failures:
            lines = [f"{job}: {error}" for job, error in launched.failures.items()]
            raise UserError(f"{len(lines)} of {len(sweep.jobs)} jobs failed\n" + "\n".join(lines))
    if launched.handle:
        return [f"submitted as {launched.handle}; logs in {folder}; see sde-edit status"]
    return finish()


def _launched(sweep: Sweep, finish: Finish, folder: Path) -> Launched:
    try:
        return launcher(sweep.overrides).launch(sweep.jobs, Worker, finish, folder)
    except UserError:  # no job has started, so there is nothing to follow
        shutil.rmtree(folder)
        raise


def _job_record(sweep: Sweep, job: Job) -> dict[str, Any]:
    runs = [run_id(run.experiment.spec) for run in sweep.runs if job in run.jobs]
    return {"runs": runs, **asdict(job)}


def _on_this_node(experiment: Experiment) -> Experiment:
    """On Slurm, the experiment without hardware.device: the job that finishes a sweep has no GPU.

    Its dtype stays, though `auto` followed the device.
    """
    if not slurm_job():
        return experiment
    return replace(experiment, settings=replace(experiment.settings, device="auto"))


@dataclass(frozen=True)
class Finish:
    """Called after the jobs of a sweep: seals and scores complete runs, and writes the tables.

    Shards that end at the same moment on a network file system may not see each other's images
    yet. Then only this step finds the run complete.
    """

    overrides: tuple[str, ...]
    force: bool = False

    def __call__(self) -> list[str]:
        """Return the paths of the tables, or of the runs if no table is written.

        Returns [] if a run still lacks images. Skips what is already done.
        """
        use_plugins(self.overrides)
        left = plan_sweep(self.overrides)
        run_all([_on_this_node(run.experiment) for run in left.runs if not run.plan.missing])
        if any(run.plan.missing for run in left.runs):
            return []
        runs = [RunStore(left.results).open(e.spec) for e in left.experiments]
        written = [
            publish_runs(name, config, runs, left.results, force=self.force)
            for name, config in left.written.items()
        ]
        return [str(path) for paths in written for path in paths] or [str(r.path) for r in runs]
