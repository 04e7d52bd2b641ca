"""Reports which runs are finished, running or failed.

Reads only small files, and the images that were written later than their records.
"""

from __future__ import annotations

import platform
import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sde_edit.config import launcher, results_dir
from sde_edit.engine.damage import damaged_outputs
from sde_edit.errors import UserError
from sde_edit.overrides import keyed
from sde_edit.report.formats import markdown
from sde_edit.report.leaderboard import common_settings, list_run, status_table
from sde_edit.report.table import Block, Cell, Column, Row, Table
from sde_edit.store.files import DamagedFileError, read_regular
from sde_edit.store.processes import is_gone
from sde_edit.store.runs import AttemptRecord, Run, RunStore, safe_overrides
from sde_edit.store.sweeps import SweepRecord, read_sweeps

_LAST_LINES = 5
_TAIL_BYTES = 20_000
_RECENT_ROWS = 50  # images over which the rate is averaged


def describe_status(overrides: Sequence[str]) -> str:
    """Markdown: every run, the shards of unfinished runs, failures with the end of their logs.

    Raises UserError for another override, and if the folder of results is not there.
    """
    if idle := [o for o in overrides if o not in keyed(overrides, "paths.")]:
        raise UserError(f"{idle[0]}: status lists every run, and takes paths.results=DIR alone")
    results = results_dir(overrides)
    runs, problems = RunStore.there(results).scan()
    states, notes = submitted_jobs(results)
    listings = [list_run(run) for run in runs]
    unfinished = [one.run for one in listings if one.state == "partial"]
    shards = [shard for run in unfinished for shard in shards_of(run, states)]
    found = ((run, (*run.damage(), *_damaged_images(run))) for run in runs)
    problems += [f"run {run.id}: {problem}" for run, messages in found for problem in messages]
    listed = markdown(status_table(listings)) if runs else f"no runs in {results}"
    blocks = [*filter(None, (listed, common_settings(listings))), *notes]
    if problems:
        blocks.append("\n".join(["damaged:", *(f"- {problem}" for problem in problems)]))
    if shards:
        blocks.append(markdown(_shards_table(shards)))
    blocks += [_failure(shard) for shard in shards if shard.is_broken]
    return "\n\n".join(block.rstrip() for block in blocks)


def _damaged_images(run: Run) -> list[str]:
    """A message on images that were damaged after they were recorded; [] if there are none."""
    damaged = damaged_outputs(run)
    if not damaged:
        return []
    return [
        f"{len(damaged)} images are not those that were made, first {run.output(damaged[0])}. The "
        "same `sde-edit run` command makes them again"
    ]


def submitted_jobs(results: Path) -> tuple[dict[str, str], list[str]]:
    """Job -> state for submitted jobs that have not ended, and a line per sweep with such jobs."""
    states: dict[str, str] = {}
    notes: list[str] = []
    for name, record in read_sweeps(results).items():
        if not record.handle:
            continue
        try:
            found = launcher(_launcher_overrides(name, record)).states(record.handle)
        except UserError as error:
            notes.append(f"sweep {name}: {error}")
            continue
        by_state = sorted(Counter(found.values()).items())
        counts = ", ".join(f"{n} {state.lower()}" for state, n in by_state)
        if counts:
            notes.append(f"sweep {name}, job {record.handle}: {counts}")
        states |= found
    return states, notes


def _launcher_overrides(name: str, record: SweepRecord) -> list[str]:
    chosen = [override for override in record.overrides if override.startswith("launcher")]
    return list(safe_overrides(chosen, Path("sweeps") / name / "sweep.json"))


# ------------------------------------------------------------------ shards
@dataclass(frozen=True)
class Shard:
    """A shard of an unfinished run, after its latest attempt.

    state: running, done, failed, interrupted, died, Slurm's state in lower case, or the machine to
    ask. made: images of this attempt. rate: images per second over the latest ones.
    """

    run: Run
    attempt: AttemptRecord
    state: str
    made: int
    rate: float | None

    @property
    def is_broken(self) -> bool:
        return self.state in ("failed", "died")

    @property
    def seconds_left(self) -> float | None:
        return (self.attempt.images - self.made) / self.rate if self.rate else None


def shards_of(run: Run, states: Mapping[str, str]) -> list[Shard]:
    """The shards of a run that have been started."""
    latest = {(attempt.shards, attempt.shard): attempt for attempt in run.attempts()}
    return [_shard(run, attempt, states) for attempt in latest.values()]


def _shard(run: Run, attempt: AttemptRecord, states: Mapping[str, str]) -> Shard:
    made = list(run.records_of(attempt.attempt))
    seconds = [record.seconds or 0 for record in made[-_RECENT_ROWS:]]
    rate = len(seconds) / sum(seconds) if sum(seconds) else None
    return Shard(run, attempt, _state(attempt, states), len(made), rate)


def _state(attempt: AttemptRecord, states: Mapping[str, str]) -> str:
    if attempt.error is not None:
        return "interrupted" if attempt.error == "interrupted" else "failed"
    if attempt.ended is not None:
        return "done"
    if attempt.slurm_job:
        return states.get(attempt.slurm_job, "died").lower()
    if attempt.host != platform.node():
        return f"on {attempt.host}"
    return "died" if is_gone(str(attempt.pid)) else "running"


# ------------------------------------------------------------------ show
def _shards_table(shards: Sequence[Shard]) -> Table:
    names = ("run", "shard", "state", "made", "img/s", "left", "where")
    rows = [
        Row(shard.run.id, "arm", tuple(Cell(text=t) for t in _texts(shard))) for shard in shards
    ]
    columns = tuple(Column("", name) for name in names[1:])
    return Table("shards", "", names[0], columns, (Block("", tuple(rows)),))


def _texts(shard: Shard) -> tuple[str, ...]:
    attempt, left = shard.attempt, shard.seconds_left
    where = attempt.host + (f" job {attempt.slurm_job}" if attempt.slurm_job else "")
    return (
        f"{attempt.shard} of {attempt.shards}",
        shard.state,
        f"{shard.made} of {attempt.images}",
        f"{shard.rate:.2f}" if shard.rate else "",
        time.strftime("%H:%M:%S", time.gmtime(left)) if left and shard.state == "running" else "",
        where,
    )


def _failure(shard: Shard) -> str:
    attempt = shard.attempt
    head = f"run {shard.run.id} shard {attempt.shard} of {attempt.shards} {shard.state}"
    head += f": {attempt.error}" if attempt.error else ""
    again = f"sde-edit run {shlex.join(attempt.overrides)}"
    results = shard.run.path.parent.parent
    lines = _last_lines(Path(attempt.log), results) if attempt.log else []
    return "\n".join([head, *lines, f"go on with: {again}"])


def _last_lines(log: Path, results: Path) -> list[str]:
    """The end of a log, without overwritten progress bars and control characters.

    A log outside the results folder is not read: the record may come from somebody else.
    """
    if not log.resolve().is_relative_to(results.resolve()):
        return [f"    its log is not in the results folder: {log}"]
    try:
        text = read_regular(log)[-_TAIL_BYTES:].decode(errors="replace")
    except (FileNotFoundError, DamagedFileError):
        return []
    lines = [line.rstrip().rsplit("\r", 1)[-1] for line in text.split("\n") if line.strip()]
    shown = ("".join(c for c in line if c.isprintable()) for line in lines[-_LAST_LINES:])
    return [f"    {line}" for line in shown]
