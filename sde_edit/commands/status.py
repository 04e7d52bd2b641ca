"""What is finished, what is at work, and what has failed. Reads small files only."""

from __future__ import annotations

import json
import os
import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sde_edit.config import launcher, results_dir
from sde_edit.errors import UserError
from sde_edit.report.formats import markdown
from sde_edit.report.summary import runs_table
from sde_edit.report.table import Block, Cell, Column, Row, Table
from sde_edit.store.runs import Run, RunStore

_LAST_LINES = 5
_TAIL_BYTES = 20_000


_RECENT_ROWS = 50  # the rate is that of the last images


def describe_status(overrides: Sequence[str]) -> str:
    """Markdown: every run; the shards of those that are unfinished; failures with their logs."""
    results = results_dir(overrides)
    states, notes = submitted_jobs(results / "sweeps")
    store = RunStore(results)
    parts = [part for run in store.runs() if run.seal is None for part in shards_of(run, states)]
    blocks = [markdown(runs_table(store)), *notes]
    if parts:
        blocks.append(markdown(_shards_table(parts)))
    return "\n\n".join([*blocks, *(_failure(part) for part in parts if part.is_broken)])


def submitted_jobs(sweeps: Path) -> tuple[dict[str, str], list[str]]:
    """Job -> state of the submitted jobs that are not over, and a line on each such sweep."""
    states: dict[str, str] = {}
    notes: list[str] = []
    for file in sorted(sweeps.glob("*/sweep.json")):
        record = json.loads(file.read_text())
        if not record["handle"]:
            continue
        try:
            found = launcher(record["overrides"]).states(record["handle"])
        except UserError as error:
            return states, [*notes, str(error)]
        by_state = sorted(Counter(found.values()).items())
        counts = ", ".join(f"{n} {state.lower()}" for state, n in by_state)
        if counts:
            notes.append(f"sweep {file.parent.name}, job {record['handle']}: {counts}")
        states |= found
    return states, notes


# ------------------------------------------------------------------ shards
@dataclass(frozen=True)
class Part:
    """A shard of an unfinished run, as its latest attempt has left it.

    state: running, done, failed, interrupted, died, what Slurm calls it, or which machine to ask.
    made of wanted: images of this attempt. rate: images per second of the latest ones.
    """

    run: Run
    facts: Mapping[str, Any]
    state: str
    made: int
    wanted: int
    rate: float | None

    @property
    def is_broken(self) -> bool:
        return self.state in ("failed", "died")

    @property
    def seconds_left(self) -> float | None:
        return (self.wanted - self.made) / self.rate if self.rate else None


def shards_of(run: Run, states: Mapping[str, str]) -> list[Part]:
    """The shards of a run that were begun."""
    latest: dict[tuple[int, int], Mapping[str, Any]] = {}
    for facts in run.attempts():
        latest[facts["shards"], facts["shard"]] = facts
    return [_part(run, facts, states) for facts in latest.values()]


def _part(run: Run, facts: Mapping[str, Any], states: Mapping[str, str]) -> Part:
    file = run.row_file(facts["attempt"])
    lines = file.read_text().splitlines() if file.exists() else []
    seconds = [json.loads(line)["seconds"] or 0 for line in lines[-_RECENT_ROWS - 1 : -1]]
    rate = len(seconds) / sum(seconds) if sum(seconds) else None
    state = _state(facts, states)
    return Part(run, facts, state, len(lines), facts["images"], rate)


def _state(facts: Mapping[str, Any], states: Mapping[str, str]) -> str:
    if "error" in facts:
        return "interrupted" if facts["error"] == "interrupted" else "failed"
    if "ended" in facts:
        return "done"
    if facts["slurm_job"]:
        return states.get(facts["slurm_job"], "died").lower()
    if facts["host"] != platform.node():
        return f"on {facts['host']}"
    return "running" if _is_alive(facts["pid"]) else "died"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# ------------------------------------------------------------------ show
def _shards_table(parts: Sequence[Part]) -> Table:
    names = ("run", "shard", "state", "made", "img/s", "left", "where")
    rows = [Row(part.run.id, "arm", tuple(Cell(text=t) for t in _texts(part))) for part in parts]
    columns = tuple(Column("", name) for name in names[1:])
    return Table("shards", "", names[0], columns, (Block("", tuple(rows)),))


def _texts(part: Part) -> tuple[str, ...]:
    facts, left = part.facts, part.seconds_left
    where = facts["host"] + (f" job {facts['slurm_job']}" if facts["slurm_job"] else "")
    return (
        f"{facts['shard']} of {facts['shards']}",
        part.state,
        f"{part.made} of {part.wanted}",
        f"{part.rate:.2f}" if part.rate else "",
        time.strftime("%H:%M:%S", time.gmtime(left)) if left and part.state == "running" else "",
        where,
    )


def _failure(part: Part) -> str:
    facts = part.facts
    head = f"run {part.run.id} shard {facts['shard']} of {facts['shards']} {part.state}"
    head += f": {facts['error']}" if "error" in facts else ""
    again = f"sde-edit run {' '.join(facts['overrides'])}"
    return "\n".join([head, *_last_lines(facts["log"]), f"go on with: {again}"])


def _last_lines(log: str | None) -> list[str]:
    """The end of a log, without the bars that were drawn over."""
    if log is None or not Path(log).exists():
        return []
    with open(log, "rb") as file:
        file.seek(max(Path(log).stat().st_size - _TAIL_BYTES, 0))
        text = file.read().decode(errors="replace")
    lines = [line.rstrip().rsplit("\r", 1)[-1] for line in text.split("\n") if line.strip()]
    return [f"    {line}" for line in lines[-_LAST_LINES:]]
