"""Sweeps: expands to runs, drops finished ones, checks the rest, shows the plan, launches."""

from __future__ import annotations

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
from sde_edit.bench.machine import expected_device
from sde_edit.bench.result import estimate_seconds
from sde_edit.commands.contact_sheets import check_sheets
from sde_edit.commands.foreseen import rehearse_tables
from sde_edit.commands.run import Worker, is_finished, run_all, without_empty_runs
from sde_edit.commands.table import publish_runs
from sde_edit.config import experiment, launcher, sweep_overrides, use_plugins
from sde_edit.engine.attempt import check_machine, slurm_job
from sde_edit.engine.plan import Plan, group_by_shared_encoding, pixels, plan_run, t_0_of
from sde_edit.engine.producer import inspect_missing, producer_of
from sde_edit.errors import UserError
from sde_edit.evaluation.evaluate import check_metrics
from sde_edit.overrides import with_values
from sde_edit.report.formats import markdown
from sde_edit.report.table import Block, Cell, Column, Row, Table
from sde_edit.store.files import canonical, write_atomic
from sde_edit.store.runs import RunStore, run_id
from sde_edit.store.sweeps import SweepRecord

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment
    from sde_edit.api.spec import RunSpec


_WORTH_COMPILING = 600.0  # seconds of a worker; a network takes a minute or two to compile


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

    @property
    def results(self) -> Path:
        return self.experiments[0].settings.results

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


# ------------------------------------------------------------------ plan
def plan_sweep(overrides: Sequence[str]) -> Sweep:
    """Every run of a grid or of tables (`table=table2`), once each. Reads only the store.

    Raises UserError for a wrong key, or missing data or weights.
    """
    combinations, tables = sweep_overrides(overrides)
    on_gpu = launcher(overrides).on_gpu
    every = (experiment(combination, on_gpu=on_gpu) for combination in combinations)
    composed = {run_id(e.spec): e for e in every}
    experiments = tuple(composed.values())
    groups = group_by_shared_encoding(experiments)
    planned = [run for group in groups for run in _planned(group)]
    order = list(composed)
    planned.sort(key=lambda run: order.index(run_id(run.experiment.spec)))
    return Sweep(tuple(overrides), tables, experiments, tuple(planned))


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
    overrides, shards = _common_overrides(sharded), sharded[0].settings.shards
    missing = frozenset[str]().union(*(plan.missing for plan in plans))
    if shards == 1 or not missing:
        return (Job((*overrides, "shards=1"), sum(len(plan.missing) for plan in plans)),)
    parts = [[i for batch in plans[0].batches[k::shards] for i in batch] for k in range(shards)]
    images = [sum(len(plan.missing.intersection(part)) for plan in plans) for part in parts]
    return tuple(
        Job((*overrides, f"shard={k}", f"shards={shards}"), n) for k, n in enumerate(images) if n
    )


def _common_overrides(group: Sequence[Experiment]) -> tuple[str, ...]:
    """Overrides that compose all experiments of a group, which differ in task.t_0 alone."""
    if len(group) == 1:
        return group[0].overrides
    return with_values(group[0].overrides, "task.t_0", [t_0_of(member) for member in group])


# ------------------------------------------------------------------ check
def check_sweep(sweep: Sweep, *, force: bool = False) -> None:
    """Check all that can be known before jobs start.

    These are launcher, machine, disk, metrics, sheets, examples, that the tables can be made of the
    runs and, unless `force` is given, that none is replaced by one that rests on less. Raises
    UserError naming the first problem and its remedy.
    """
    chosen = launcher(sweep.overrides)
    chosen.check()
    if chosen.on_gpu is None:  # jobs run on this machine
        for run in sweep.runs:
            if run.plan.missing:
                check_machine(run.experiment.settings)
    _check_disk(sweep)
    metrics = {named.spec.name: named for e in sweep.experiments for named in e.metrics}
    if problems := check_metrics(list(metrics.values())):
        raise UserError("\n".join(problems))
    for config in sweep.tables.values():
        check_sheets(config, metrics)
    rehearse_tables(sweep.experiments, sweep.tables, sweep.results, force=force)
    _ = sweep.evaluations  # checks the examples


def _check_disk(sweep: Sweep) -> None:
    folder = sweep.results
    write_atomic(folder / "sweeps" / ".writable", b"")
    needed, free = disk_bytes(sweep), shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: about {gib(needed)} will be written and {gib(free)} are free. Free space "
            "or set paths.results=DIR"
        )


def disk_bytes(sweep: Sweep) -> int:
    """Estimated bytes of the missing images: as those stored of the same model and data set, else
    uncompressed."""
    stored: dict[tuple[str, str], list[int]] = {}
    for run in RunStore(sweep.results).runs():
        stored.setdefault(_source(run.spec), []).extend(row.size for row in run.rows().values())
    return round(sum(len(run.plan.missing) * _image_bytes(run, stored) for run in sweep.runs))


def _source(spec: RunSpec) -> tuple[str, str]:
    """What decides how large the files of images are."""
    return spec.model.name, canonical(asdict(spec.data))


def _image_bytes(run: PlannedRun, stored: Mapping[tuple[str, str], Sequence[int]]) -> float:
    same = stored.get(_source(run.experiment.spec))
    return sum(same) / len(same) if same else 3 * run.pixels


def gib(size: float) -> str:
    """A number of bytes in GiB, or in MiB below an eighth of one."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**27 else f"{size / 2**20:.1f} MiB"


# ------------------------------------------------------------------ show
def describe_sweep(sweep: Sweep) -> str:
    """The plan as Markdown: the missing images, their cost, and the source of the estimate."""
    finished = len(sweep.experiments) - len(sweep.runs)
    of = " ".join(_shared(sweep)) or "the defaults"
    lines = [f"{len(sweep.experiments)} runs of {of}: {finished} finished"]
    if not sweep.runs:
        return lines[0]
    lines += ["", markdown(_plan_table(sweep))]
    images = sum(len(run.plan.missing) for run in sweep.runs)
    lines.append(
        f"{len(sweep.jobs)} jobs: {images} images, {sum(sweep.evaluations):,} network evaluations, "
        f"{gib(disk_bytes(sweep))} of disk"
    )
    at_work = [run for run in sweep.runs if run.plan.missing]
    shapes = [f"{r.experiment.spec.data.name}: {r.plan.shapes}" for r in at_work if r.plan.shapes]
    notices = [text for run in at_work for text in producer_of(run.experiment).notices()]
    asked = launcher(sweep.overrides).notices()
    said = [*dict.fromkeys([*shapes, *notices]), *asked, *_estimates(sweep), *_advice(sweep)]
    return "\n".join([*lines, *said])


def _plan_table(sweep: Sweep) -> Table:
    columns = tuple(Column("", name) for name in ("images", "evaluations", "hours", "jobs"))
    rows = []
    for run, evaluations in zip(sweep.runs, sweep.evaluations, strict=True):
        seconds = _seconds(sweep, run, evaluations)
        texts = (
            f"{len(run.plan.missing)} of {len(run.plan.ids)}",
            f"{evaluations:,}",
            "?" if seconds is None else f"{seconds / 3600:.2f}",
            str(len(run.jobs)),
        )
        shared = _shared(sweep)
        label = " ".join(o for o in run.experiment.overrides if o not in shared)
        rows.append(Row(label, "arm", tuple(Cell(text=text) for text in texts)))
    return Table("plan", "", "run", columns, (Block("", tuple(rows)),))


def _shared(sweep: Sweep) -> list[str]:
    """The overrides that all runs have in common."""
    first, *others = (experiment.overrides for experiment in sweep.experiments)
    return [o for o in first if all(o in other for other in others)] if others else []


def _seconds(sweep: Sweep, run: PlannedRun, evaluations: int) -> float | None:
    if not evaluations:
        return 0.0
    found = _estimate(sweep, run, evaluations)
    return found[0] if found else None


def _estimate(sweep: Sweep, run: PlannedRun, evaluations: int) -> tuple[float, str] | None:
    settings = run.experiment.settings
    device = expected_device(settings.device, on_gpu=sweep.on_gpu)
    return estimate_seconds(settings.results, run.experiment, evaluations, run.pixels, device)


def _estimates(sweep: Sweep) -> list[str]:
    """The benchmarks behind the hours, or the command that makes one."""
    costs = zip(sweep.runs, sweep.evaluations, strict=True)
    costly = [(run, evaluations) for run, evaluations in costs if evaluations]
    found = [_estimate(sweep, run, evaluations) for run, evaluations in costly]
    sources = dict.fromkeys(estimate[1] for estimate in found if estimate)
    total = sum(estimate[0] for estimate in found if estimate) / 3600
    lines = [f"about {total:.2f} hours of one worker, by {source}" for source in sources]
    lines += _wall_time(sweep, total)
    if None in found:
        model = costly[found.index(None)][0].experiment.spec
        lines.append(
            "hours are unknown where there is no benchmark: "
            f"sde-edit bench model={model.model.name} dtype={model.dtype}"
        )
    return lines


def _wall_time(sweep: Sweep, hours: float) -> list[str]:
    """The hours with the workers asked for: jobs are shared out, and none is shorter than it is."""
    workers = min(launcher(sweep.overrides).parallel_jobs(), len(sweep.jobs))
    if not hours or workers < 2:
        return []
    images = sum(job.images for job in sweep.jobs) or 1
    longest = hours * max(job.images for job in sweep.jobs) / images
    return [f"about {max(hours / workers, longest):.2f} hours on {workers} workers at once"]


def _advice(sweep: Sweep) -> list[str]:
    """That compiling pays, where that was measured: on CPUs.

    Runs that have begun stay as they are, as compiled images differ by rounding.
    """
    costs = zip(sweep.runs, sweep.evaluations, strict=True)
    eager = [_seconds(sweep, run, cost) or 0.0 for run, cost in costs if _may_compile(sweep, run)]
    workers = min(launcher(sweep.overrides).parallel_jobs(), len(sweep.jobs))
    if sum(eager) <= _WORTH_COMPILING * workers:
        return []
    return ["long enough for hardware.compile=true, which gives the same images up to rounding"]


def _may_compile(sweep: Sweep, run: PlannedRun) -> bool:
    settings = run.experiment.settings
    begun = len(run.plan.missing) < len(run.plan.ids)
    device = expected_device(settings.device, on_gpu=sweep.on_gpu)
    return not begun and not settings.compile and device.kind == "cpu"


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
        """Return the paths of the tables, or of the runs if no table was asked for.

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
            for name, config in left.tables.items()
        ]
        return [str(path) for paths in written for path in paths] or [str(r.path) for r in runs]
