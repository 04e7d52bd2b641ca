"""How `run`, `evaluate` and `summary` end: scores, costs, and differences to the first run."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sde_edit.api.spec import ComponentSpec, RunSpec
from sde_edit.commands.pairing import on_common_examples
from sde_edit.report.contact_sheet import runs_sheet, save_sheet
from sde_edit.report.formats import markdown
from sde_edit.report.results import RunResult, load_finished
from sde_edit.report.summary import Peers, Trials, background, labels_of, summary_table
from sde_edit.store.files import canonical, short_digest
from sde_edit.store.runs import Run

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment

_ANY = ComponentSpec("", "", 0)


def describe_scores(
    runs: Sequence[Run], metrics: Mapping[str, Collection[str]] | None = None, *, whole: bool
) -> str:
    """Markdown: a table of finished runs.

    metrics: run id -> the metrics to show; None for all that are stored. whole: whether to say all
    that the numbers rest on. Raises UserError for a run that is not sealed, a number that is not
    finite, or if the runs disagree on the convention of a metric.
    """
    unique = list({run.id: run for run in runs}.values())
    read = [load_finished(run) for run in unique]
    if metrics is not None:
        read = [_only(metrics.get(run.id, ()), run) for run in read]
    table = summary_table([_paired(group) for group in _peers(read)])
    if whole:
        table = replace(table, notes=(*table.notes, *background(read)))
    return markdown(table)


def describe_places(runs: Sequence[Run]) -> str:
    """Where each run is, and its contact sheet."""
    lines = {run.path: f"run {run.id}: {run.path}" for run in runs}
    sheets = {path: path / "contact.png" for path in lines}
    drawn = {path: f"contact sheet: {sheet}" for path, sheet in sheets.items() if sheet.is_file()}
    return "\n".join(text for path in lines for text in (lines[path], drawn.get(path)) if text)


def save_side_by_side(runs: Sequence[Run], first: Experiment) -> Path:
    """Write the contact sheet of those runs that have the data of the first; return its path."""
    data = runs[0].spec.data
    shown = [run for run in runs if run.spec.data == data]
    labels = list(labels_of(shown).values())
    name = _file_name("summary", first.spec.task.name, first.spec.model.name, *labels)
    path = first.settings.results / "figures" / f"{name}.png"
    named = dict(zip(labels, shown, strict=True))
    save_sheet(runs_sheet(named, first.dataset, hidden=first.task.uses_mask), path)
    return path


def _file_name(*parts: str) -> str:
    """The joined parts; a name beyond 120 characters is cut and gets a digest."""
    name = re.sub(r"[^\w.=-]+", "-", "__".join(parts))
    return name if len(name) <= 120 else f"{name[:110]}-{short_digest(name, 8)}"


def _only(metrics: Collection[str], run: RunResult) -> RunResult:
    return replace(run, scores={name: s for name, s in run.scores.items() if name in metrics})


def _paired(group: Sequence[Trials]) -> Peers:
    """Trials with their results on the examples that all of their runs have."""
    shared = {run.id: run for run in on_common_examples([run for trial in group for run in trial])}
    return Peers(
        whole=[on_common_examples(trial) for trial in group],
        shared=[[shared[run.id] for run in trial] for trial in group],
    )


def _peers(runs: Sequence[RunResult]) -> list[list[Trials]]:
    """Groups of trials that differ in the sampler alone; if one has no peer, all of equal data.

    So `sampler=ode,sde steps=25,50` compares the samplers at each number of steps, and
    `steps=25,50` the steps. Runs that differ in the seed alone are the trials of one setting and
    are averaged, unless there is no other setting: `seed=0,1,2` compares the seeds.
    """
    found = _grouped(runs, lambda run: replace(run.spec, seed=0))
    trials: list[Trials] = [*found] if len(found) > 1 else [[run] for run in runs]
    groups = _grouped(trials, lambda trial: replace(trial[0].spec, sampler=_ANY, seed=0))
    if min(map(len, groups)) > 1:
        return groups
    return _grouped(trials, lambda trial: trial[0].spec.data)


_T = TypeVar("_T")


def _grouped(items: Sequence[_T], key: Callable[[_T], RunSpec | ComponentSpec]) -> list[list[_T]]:
    groups: dict[str, list[_T]] = {}
    for item in items:
        groups.setdefault(canonical(asdict(key(item))), []).append(item)
    return list(groups.values())
