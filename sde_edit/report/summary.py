"""Tables of runs: a summary of a few runs side by side, and the list of all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from sde_edit.errors import UserError
from sde_edit.report.cells import (
    common_convention,
    cost_cell,
    metrics_of,
    score_cell,
    settings_notes,
)
from sde_edit.report.results import RunResult, load_finished
from sde_edit.report.selection import COMPONENT_ATTRS, flatten
from sde_edit.report.table import Block, Cell, Column, Row, Table, arrow, with_common_decimals
from sde_edit.store.runs import Run, RunStore

COSTS = ("seconds/image", "evaluations/image")
LISTED = ("run", "task", "sampler", "model", "data", "steps", "images", "state", "metrics")


def summary_table(
    runs: Sequence[Run], metrics: Sequence[str] | None = None, *, title: str = "Summary"
) -> Table:
    """One row per run: every metric with interval, then mean seconds and network evaluations.

    metrics: None for all that the runs have. A metric that a run lacks is a dash. Raises UserError
    without runs, for a run that is not sealed, a number that is not finite, or if the runs disagree
    on the convention of a metric.
    """
    if not runs:
        raise UserError("no runs to summarise")
    read = [load_finished(run) for run in runs]
    names = list(metrics if metrics is not None else metrics_of(read))
    columns = tuple(
        Column("", text) for text in [*(_heading(name, read) for name in names), *COSTS]
    )
    found = [_metric_cells(name, read) for name in names] + _cost_cells(read)
    labels = _labels(read)
    rows = tuple(
        Row(label, "arm", tuple(cells[i] for cells in found)) for i, label in enumerate(labels)
    )
    ids = ", ".join(f"{label} `{run.id}`" for label, run in zip(labels, read, strict=True))
    notes = (*_conventions(names, read), *settings_notes(read), *_devices(read), f"Runs: {ids}.")
    return Table("summary", title, "sampler", columns, (Block("", rows),), notes)


def _scored(metric: str, runs: Sequence[RunResult]) -> list[RunResult]:
    return [run for run in runs if metric in run.scores]


def _heading(metric: str, runs: Sequence[RunResult]) -> str:
    scored = _scored(metric, runs)
    return f"{metric} {arrow(common_convention(metric, scored)[1])}" if scored else metric


def _conventions(metrics: Sequence[str], runs: Sequence[RunResult]) -> list[str]:
    scored = ((metric, _scored(metric, runs)) for metric in metrics)
    return [f"{metric}: {common_convention(metric, found)[0]}" for metric, found in scored if found]


def _metric_cells(metric: str, runs: Sequence[RunResult]) -> tuple[Cell, ...]:
    return with_common_decimals(
        score_cell(run, metric) if metric in run.scores else Cell() for run in runs
    )


def _cost_cells(runs: Sequence[RunResult]) -> list[tuple[Cell, ...]]:
    return [
        with_common_decimals(cost_cell([run], "seconds") for run in runs),
        with_common_decimals(cost_cell([run], "evaluations") for run in runs),
    ]


def _devices(runs: Sequence[RunResult]) -> list[str]:
    devices = dict.fromkeys(device for run in runs for device in run.devices)
    if not devices:
        return []
    return [
        f"Seconds: share of the wall time of its batch, on {', '.join(devices)}. "
        "Evaluations: rows that went through the network."
    ]


def _labels(runs: Sequence[RunResult]) -> list[str]:
    """Sampler names; runs of one sampler get the settings that tell them apart."""
    flats = [flatten(run.spec) for run in runs]
    names = [run.spec.sampler.name for run in runs]
    if len(set(names)) == len(names):
        return names
    varying = _varying(flats)
    plain = [key for key in varying if key.rpartition(".")[2] not in COMPONENT_ATTRS]
    return [
        " ".join([name, *(f"{key}={flat[key]}" for key in plain or varying if key in flat)])
        for name, flat in zip(names, flats, strict=True)
    ]


def _varying(flats: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys that tell the runs apart. A sampler's settings count only among its own runs."""
    keys = sorted({key for flat in flats for key in flat if key != "sampler"})
    return [
        key
        for key in keys
        if any(
            a.get(key) != b.get(key)
            for a, b in combinations(flats, 2)
            if not key.startswith("sampler.") or a["sampler"] == b["sampler"]
        )
    ]


def runs_table(store: RunStore) -> Table:
    """Every usable run of the store, sealed or not; an empty table for an empty store.

    Reads no images.
    """
    columns = tuple(Column("", text) for text in LISTED[1:])
    rows = tuple(Row(run.id, "arm", tuple(map(_text, _listed(run)))) for run in store.scan()[0])
    return Table("runs", "", LISTED[0], columns, (Block("", rows),))


def _text(text: str) -> Cell:
    return Cell(text=text)


def _listed(run: Run) -> tuple[str, ...]:
    spec, seal = run.spec, run.seal
    state = "begun" if seal is None else "finished" if seal.n == seal.of else "partial"
    begun = str(len({row.id for row in run.iter_records()}))
    images = begun if seal is None else f"{seal.n} of {seal.of}"
    scores = ", ".join(run.scores())
    names = (spec.task.name, spec.sampler.name, spec.model.name, spec.data.name)
    return (*names, str(spec.steps), images, state, scores)
