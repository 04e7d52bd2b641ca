"""The plan of a sweep as text: what is missing, what it costs, and what runs share."""

from __future__ import annotations

from collections.abc import Sequence

from sde_edit.bench.machine import expected_device
from sde_edit.bench.result import estimate_seconds
from sde_edit.commands.sweep import PlannedRun, Sweep, gib
from sde_edit.config import launcher
from sde_edit.engine.producer import producer_of
from sde_edit.engine.shared_encoding import group_by_shared_encoding, kept_bytes
from sde_edit.report.formats import markdown
from sde_edit.report.table import Block, Cell, Column, Row, Table

_WORTH_COMPILING = 600.0  # seconds of a worker; a network takes a minute or two to compile


def describe_sweep(sweep: Sweep) -> str:
    """The plan as Markdown: the missing images, their cost, and the source of the estimate."""
    finished = len(sweep.experiments) - len(sweep.runs)
    of = " ".join(_shared(sweep)) or "the defaults"
    lines = [f"{len(sweep.experiments)} runs of {of}: {finished} finished", *_unwritten(sweep)]
    if not sweep.runs:
        return "\n".join(lines)
    lines += ["", markdown(_plan_table(sweep))]
    images = sum(len(run.plan.missing) for run in sweep.runs)
    lines.append(
        f"{len(sweep.jobs)} jobs: {images} images, {sum(sweep.evaluations):,} network evaluations, "
        f"{gib(sweep.disk_bytes)} of disk"
    )
    lines += _shared_ways(sweep)
    at_work = [run for run in sweep.runs if run.plan.missing]
    shapes = [f"{r.experiment.spec.data.name}: {r.plan.shapes}" for r in at_work if r.plan.shapes]
    notices = [text for run in at_work for text in producer_of(run.experiment).notices()]
    asked = launcher(sweep.overrides).notices()
    said = [*dict.fromkeys([*shapes, *notices]), *asked, *_estimates(sweep), *_advice(sweep)]
    return "\n".join([*lines, *said])


def _unwritten(sweep: Sweep) -> list[str]:
    """The tables that were asked for and have nothing to show."""
    left_out = [name for name in sweep.tables if name not in sweep.written]
    if not left_out:
        return []
    return [f"metrics=[] measures nothing, so {', '.join(left_out)} will not be written"]


def _plan_table(sweep: Sweep) -> Table:
    operations = ("PFLOP",) if sweep.tflops else ()
    names = ("images", "evaluations", *operations, "hours", "jobs")
    columns = tuple(Column("", name) for name in names)
    rows = []
    for run, evaluations in zip(sweep.runs, sweep.evaluations, strict=True):
        seconds = _seconds(sweep, run, evaluations)
        texts = (
            f"{len(run.plan.missing)} of {len(run.plan.ids)}",
            f"{evaluations:,}",
            *(f"{_flop(sweep, run, evaluations) / 1e15:.4g}" for _ in operations),
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
    measured = estimate_seconds(sweep.benchmarks, run.experiment, evaluations, run.pixels, device)
    if measured or not sweep.tflops:
        return measured
    seconds = _flop(sweep, run, evaluations) / (1e12 * sweep.tflops)
    return seconds, f"{sweep.tflops:g} TFLOP/s, which --tflops says"


def _flop(sweep: Sweep, run: PlannedRun, evaluations: int) -> float:
    """The floating-point operations of so many evaluations, in proportion to the pixels."""
    size = run.pixels / run.experiment.source.resolution**2
    return evaluations * sweep.flops[run.experiment.spec.model.digest] * size


def _estimates(sweep: Sweep) -> list[str]:
    """The benchmarks behind the hours, or the command that makes one."""
    costs = zip(sweep.runs, sweep.evaluations, strict=True)
    costly = [(run, evaluations) for run, evaluations in costs if evaluations]
    found = [_estimate(sweep, run, evaluations) for run, evaluations in costly]
    sources = dict.fromkeys(estimate[1] for estimate in found if estimate)
    total = sum(estimate[0] for estimate in found if estimate) / 3600
    lines = _operations(sweep, costly)
    lines += [f"about {total:.2f} hours of one worker, by {'; by '.join(sources)}"] * bool(sources)
    lines += _wall_time(sweep, total)
    if None in found:
        model = costly[found.index(None)][0].experiment.spec
        lines.append(
            "hours are unknown where there is no benchmark: "
            f"sde-edit bench model={model.model.name} dtype={model.dtype}"
        )
    return lines


def _operations(sweep: Sweep, costly: Sequence[tuple[PlannedRun, int]]) -> list[str]:
    """All floating-point operations, and those of an evaluation of each model."""
    if not sweep.tflops:
        return []
    total = sum(_flop(sweep, run, evaluations) for run, evaluations in costly)
    models = {run.experiment.spec.model.digest: run.experiment.spec.model.name for run, _ in costly}
    each = [f"{sweep.flops[d] / 1e9:.4g} GFLOP an evaluation of {models[d]}" for d in models]
    return [f"{total / 1e18:.4g} EFLOP: {', '.join(each)}"]


def _shared_ways(sweep: Sweep) -> list[str]:
    """How many runs share a way up to noise, and what is kept of it meanwhile."""
    at_work = [run.experiment for run in sweep.runs if run.plan.missing]
    groups = [group for group in group_by_shared_encoding(at_work) if len(group) > 1]
    if not groups:
        return []
    longest = [max(group, key=lambda member: member.task.t_0) for group in groups]
    return [
        f"{sum(map(len, groups))} runs share {len(groups)} ways up to noise; of one at a time, a "
        f"batch keeps up to {gib(max(map(kept_bytes, longest)))} in the device's memory"
    ]


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
