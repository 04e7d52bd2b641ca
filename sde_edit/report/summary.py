"""The scores and costs of a few finished runs, and their paired differences to the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from sde_edit.errors import UserError
from sde_edit.report.cells import (
    Cost,
    Difference,
    common_convention,
    cost_cell,
    difference,
    mean_cell,
    metrics_of,
    over_family,
    rule_note,
    settings_notes,
    undecided_note,
    verdict_text,
)
from sde_edit.report.results import RunResult
from sde_edit.report.selection import flatten, varying
from sde_edit.report.table import (
    MINUS,
    Block,
    Cell,
    Column,
    Row,
    Table,
    arrow,
    effect_text,
    with_common_decimals,
)

if TYPE_CHECKING:
    from sde_edit.store.runs import Run


Trials = Sequence[RunResult]  # runs that differ in the seed alone; a single one is usual


@dataclass(frozen=True)
class Peers:
    """Trials of the same data; the first is the one with which the others are compared.

    whole: their results on all the examples that the runs of a trial share. shared: on the examples
    that all runs have, without the metrics of a whole set of images if a run has others.
    """

    whole: Sequence[Trials]
    shared: Sequence[Trials]


def summary_table(peers: Sequence[Peers]) -> Table:
    """A line for each metric and trial: value with interval, n, difference to the first, verdict,
    effect size.

    Then a line for each cost and trial. A metric that a trial lacks is a dash. The verdicts hold
    over all differences that are shown. Raises UserError without runs, or if the runs disagree on
    the convention of a metric.
    """
    trials = [trial for group in peers for trial in group.whole]
    if not trials:
        raise UserError("no runs to summarise")
    runs = [run for trial in trials for run in trial]
    labels = _labels_of_trials(trials)
    found, why = _differences(metrics_of(runs), peers, labels)
    rows = [row for m in metrics_of(runs) for row in _metric_rows(m, trials, labels, found)]
    costs: tuple[Cost, ...] = ("seconds", "evaluations")
    rows += [row for cost in costs for row in _cost_rows(cost, trials, labels)]
    columns, notes = ["run", "value", "n"], why
    if len(trials) > len(peers):  # some group has a further trial
        columns += [_heading(peers, labels), "verdict", "paired d, better in"]
        basis = dict.fromkeys(_basis(group) for group in peers if len(group.whole) > 1)
        notes = [*basis, rule_note("all these comparisons"), *_undecided(found), *why]
    lines = (replace(row, cells=row.cells[: len(columns)]) for row in rows)
    headings = tuple(Column("", text) for text in columns)
    return Table("summary", "", "metric", headings, (Block("", tuple(lines)),), tuple(notes))


def background(runs: Sequence[RunResult]) -> tuple[str, ...]:
    """Notes of all that the numbers of a summary rest on: conventions, settings, devices, ids."""
    scored = {m: [run for run in runs if m in run.scores] for m in metrics_of(runs)}
    conventions = [f"{m}: {common_convention(m, found)[0]}" for m, found in scored.items()]
    labels = labels_of(runs)
    ids = ", ".join(f"{labels[run.id]} `{run.id}`" for run in runs)
    return (*conventions, *settings_notes(runs), *_devices(runs), f"Runs: {ids}.")


def labels_of(runs: Sequence[RunResult | Run]) -> dict[str, str]:
    """Run id -> name of the sampler; runs of one sampler get the settings that tell them apart."""
    specs = [run.spec for run in runs]
    names = [spec.sampler.name for spec in specs]
    if len(set(names)) == len(names):
        return {run.id: name for run, name in zip(runs, names, strict=True)}
    keys = [key for key in varying(specs) if key != "sampler"]
    flats = [flatten(spec) for spec in specs]
    return {
        run.id: " ".join([name, *(f"{key}={flat[key]}" for key in keys if key in flat)])
        for run, name, flat in zip(runs, names, flats, strict=True)
    }


def _labels_of_trials(trials: Sequence[Trials]) -> dict[str, str]:
    """Id of the first run of each trial -> its label, which names the seeds that are averaged."""
    labels = labels_of([trial[0] for trial in trials])
    for first, *others in trials:
        if others:
            seeds = ", ".join(str(run.spec.seed) for run in (first, *others))
            labels[first.id] += f", mean of seeds {seeds}"
    return labels


# ------------------------------------------------------------------ rows
Differences = Mapping[tuple[str, str], Cell]  # (metric, id of the first run) -> the difference


def _metric_rows(
    metric: str, trials: Sequence[Trials], labels: Mapping[str, str], differences: Differences
) -> list[Row]:
    scored = [run for trial in trials for run in trial if metric in run.scores]
    _, higher = common_convention(metric, scored)
    values = with_common_decimals(replace(mean_cell(trial, metric), n=None) for trial in trials)
    found = [differences.get((metric, trial[0].id), Cell()) for trial in trials]
    shown = with_common_decimals(
        replace(cell, n=None, verdict="", exploratory=False) for cell in found
    )
    return [
        Row(
            f"{metric} {arrow(higher)}",
            "arm",
            (
                Cell(text=labels[trial[0].id]),
                value,
                Cell(text="" if value.value is None else _count(trial)),
                difference if difference.value is not None else Cell(text=" "),
                Cell(text=verdict_text(cell) or " "),
                Cell(text=effect_text(cell) or " "),
            ),
        )
        for trial, value, difference, cell in zip(trials, values, shown, found, strict=True)
    ]


def _cost_rows(cost: Cost, trials: Sequence[Trials], labels: Mapping[str, str]) -> list[Row]:
    values = with_common_decimals(replace(cost_cell(trial, cost), n=None) for trial in trials)
    blanks = [Cell(text=" ")] * 3
    return [
        Row(
            f"{cost}/image",
            "arm",
            (Cell(text=labels[trial[0].id]), value, Cell(text=_count(trial)), *blanks),
        )
        for trial, value in zip(trials, values, strict=True)
    ]


def _count(trial: Trials) -> str:
    return f"{trial[0].n} of {trial[0].of}"


# ------------------------------------------------------------------ differences
def _differences(
    metrics: Sequence[str], peers: Sequence[Peers], labels: Mapping[str, str]
) -> tuple[Differences, list[str]]:
    """The differences to the first of the peers, and notes of why some are missing."""
    found: dict[tuple[str, str], Difference] = {}
    notes = []
    for metric, group in product(metrics, peers):
        first, *others = group.shared
        whole = {trial[0].id: trial for trial in group.whole}
        for other in others:
            ids = first[0].id, other[0].id
            if not all(metric in run.scores for i in ids for run in whole[i]):
                continue  # the dash says so
            one = _difference(metric, first, other)
            if isinstance(one, Difference):
                found[metric, ids[1]] = one
            else:
                pair = f"{labels[ids[1]]} {MINUS} {labels[ids[0]]}"
                notes.append(f"{metric} has no difference {pair}: {one}")
    return dict(zip(found, over_family([*found.values()]), strict=True)), notes


def _difference(metric: str, first: Trials, other: Trials) -> Difference | str:
    """Other - first, or why there is none."""
    if not first[0].examples:
        return "the runs have no example in common"
    if not all(metric in run.scores for run in (*first, *other)):
        return "it is of a whole set of images, and the runs hold different ones"
    return difference(other, first, metric)


def _undecided(differences: Differences) -> list[str]:
    of_metric: dict[str, list[Cell]] = {}
    for (metric, _), cell in differences.items():
        of_metric.setdefault(metric, []).append(cell)
    return undecided_note(of_metric)


def _heading(peers: Sequence[Peers], labels: Mapping[str, str]) -> str:
    if len(peers) == 1:
        return f"{MINUS} {labels[peers[0].whole[0][0].id]}"
    samplers = {group.whole[0][0].spec.sampler.name for group in peers}
    if len(samplers) == 1 and all(len(group.whole) > 1 for group in peers):
        return f"{MINUS} {samplers.pop()} of the same settings"
    return f"{MINUS} the first run of its data"


def _basis(group: Peers) -> str:
    n = len(group.shared[0][0].examples)
    everything = all(run.n == n for trial in group.whole for run in trial)
    given = "" if everything else ", those that all of them have"
    return f"Differences are paired over {n} examples{given}"


def _devices(runs: Sequence[RunResult]) -> list[str]:
    devices = dict.fromkeys(device for run in runs for device in run.devices)
    if not devices:
        return []
    return [
        f"Seconds: share of the wall time of its batch, on {', '.join(devices)}. "
        "Evaluations: rows that went through the network."
    ]
