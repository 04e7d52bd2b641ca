"""The scores and costs of a few finished runs, and their paired differences to the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sde_edit.errors import UserError
from sde_edit.report.cells import (
    ROUNDING,
    Cost,
    common_convention,
    cost_cell,
    difference_cell,
    metrics_of,
    score_cell,
    settings_notes,
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
    with_common_decimals,
)

if TYPE_CHECKING:
    from sde_edit.store.runs import Run


@dataclass(frozen=True)
class Peers:
    """Runs of the same data; the first is the one with which the others are compared.

    whole: their results on all their examples. shared: on the examples that all of them have,
    without the metrics of a whole set of images if a run has others.
    """

    whole: Sequence[RunResult]
    shared: Sequence[RunResult]


def summary_table(peers: Sequence[Peers]) -> Table:
    """A line for each metric and run: value with interval, n, difference to the first, verdict.

    Then a line for each cost and run. A metric that a run lacks is a dash. Raises UserError without
    runs, or if the runs disagree on the convention of a metric.
    """
    runs = [run for group in peers for run in group.whole]
    if not runs:
        raise UserError("no runs to summarise")
    labels = labels_of(runs)
    rows: list[Row] = []
    notes: list[str] = []
    for metric in metrics_of(runs):
        differences, why = _differences(metric, peers, labels)
        rows += _metric_rows(metric, runs, labels, differences)
        notes += why
    costs: tuple[Cost, ...] = ("seconds", "evaluations")
    rows += [row for cost in costs for row in _cost_rows(cost, runs, labels)]
    columns = ["run", "value", "n"]
    if len(runs) > len(peers):  # some group has a further run
        columns += [_heading(peers, labels), "verdict"]
        basis = dict.fromkeys(_basis(group) for group in peers if len(group.whole) > 1)
        notes = [*basis, *notes]
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


# ------------------------------------------------------------------ rows
def _metric_rows(
    metric: str,
    runs: Sequence[RunResult],
    labels: Mapping[str, str],
    differences: Mapping[str, Cell],
) -> list[Row]:
    _, higher = common_convention(metric, [run for run in runs if metric in run.scores])
    values = with_common_decimals(
        replace(score_cell(run, metric), n=None) if metric in run.scores else Cell() for run in runs
    )
    found = [differences.get(run.id, Cell()) for run in runs]
    shown = with_common_decimals(replace(cell, n=None, verdict="") for cell in found)
    return [
        Row(
            f"{metric} {arrow(higher)}",
            "arm",
            (
                Cell(text=labels[run.id]),
                value,
                Cell(text=_count(run) if metric in run.scores else ""),
                difference if run.id in differences else Cell(text=" "),
                Cell(text=cell.verdict or " "),
            ),
        )
        for run, value, difference, cell in zip(runs, values, shown, found, strict=True)
    ]


def _cost_rows(cost: Cost, runs: Sequence[RunResult], labels: Mapping[str, str]) -> list[Row]:
    values = with_common_decimals(replace(cost_cell([run], cost), n=None) for run in runs)
    blank = Cell(text=" ")
    return [
        Row(
            f"{cost}/image",
            "arm",
            (Cell(text=labels[run.id]), value, Cell(text=_count(run)), blank, blank),
        )
        for run, value in zip(runs, values, strict=True)
    ]


def _count(run: RunResult) -> str:
    return f"{run.n} of {run.of}"


# ------------------------------------------------------------------ differences
def _differences(
    metric: str, peers: Sequence[Peers], labels: Mapping[str, str]
) -> tuple[dict[str, Cell], list[str]]:
    """Run id -> its difference to the first of its peers, and notes of why some have none."""
    found: dict[str, Cell] = {}
    notes = []
    for group in peers:
        first, *others = group.shared
        whole = {run.id: run for run in group.whole}
        for other in others:
            if not all(metric in whole[run.id].scores for run in (first, other)):
                continue  # the dash says so
            difference = _difference(metric, first, other)
            if isinstance(difference, Cell):
                found[other.id] = difference
            else:
                pair = f"{labels[other.id]} {MINUS} {labels[first.id]}"
                notes.append(f"{metric} has no difference {pair}: {difference}")
    return found, notes


def _difference(metric: str, first: RunResult, other: RunResult) -> Cell | str:
    """Other - first, or why there is none."""
    if not first.examples:
        return "the runs have no example in common"
    if not all(metric in run.scores for run in (first, other)):
        return "it is of a whole set of images, and the runs hold different ones"
    return difference_cell([other], [first], metric)


def _heading(peers: Sequence[Peers], labels: Mapping[str, str]) -> str:
    if len(peers) == 1:
        return f"{MINUS} {labels[peers[0].whole[0].id]}"
    samplers = {group.whole[0].spec.sampler.name for group in peers}
    if len(samplers) == 1 and all(len(group.whole) > 1 for group in peers):
        return f"{MINUS} {samplers.pop()} of the same settings"
    return f"{MINUS} the first run of its data"


def _basis(group: Peers) -> str:
    n = len(group.shared[0].examples)
    given = "" if all(run.n == n for run in group.whole) else ", those that all of them have"
    return (
        f"Differences are paired over {n} examples{given}. `better` or `worse` stands where the "
        f"interval excludes 0 and the difference exceeds rounding ({ROUNDING:.1g} of the value), "
        "with no correction for the number of metrics"
    )


def _devices(runs: Sequence[RunResult]) -> list[str]:
    devices = dict.fromkeys(device for run in runs for device in run.devices)
    if not devices:
        return []
    return [
        f"Seconds: share of the wall time of its batch, on {', '.join(devices)}. "
        "Evaluations: rows that went through the network."
    ]
