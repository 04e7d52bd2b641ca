"""Contact sheets of a table: its runs side by side, and the worst examples of an arm."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image

from sde_edit.api.experiment import Experiment
from sde_edit.api.metric import Score
from sde_edit.config import experiment
from sde_edit.errors import UserError
from sde_edit.registry import settings, strict, suggest
from sde_edit.report.cells import ranked
from sde_edit.report.contact_sheet import (
    examples_sheet,
    rendered_sheet,
    runs_sheet,
    stacked,
)
from sde_edit.report.results import load_finished
from sde_edit.report.table import Column, Table, figure_name
from sde_edit.store.files import child
from sde_edit.store.runs import Run

_Named = Mapping[str, Run]  # heading above a run's images -> the run


@strict
@dataclass(frozen=True)
class Sheet:
    """`sheet:` of a table's config, written to results/figures/<table>.png.

    rows: the number of examples, taken from the start of the data set; `sheet: 4` is short for it.
    arm: the arm whose settings are the columns; null: the arms are the columns, with a part of the
    sheet for each setting.
    """

    rows: int
    arm: str | None = None


@strict
@dataclass(frozen=True)
class Failures:
    """`failures:` of a table's config, written to results/figures/<table>-failures.png.

    It shows, for each setting, the worst examples of an arm in order, with the scores of all arms.
    metric: a metric with a value per example; of several, the first that all arms have.
    """

    arm: str
    metric: str | list[str]
    rows: int = 4

    @property
    def metrics(self) -> list[str]:
        """The metrics in order of preference."""
        return [self.metric] if isinstance(self.metric, str) else self.metric


def sheet_settings(config: Mapping[str, Any]) -> tuple[Sheet | None, Failures | None]:
    """The sheets of a table's config.

    Raises UserError for a wrong key or value, for a sheet that would overwrite the table's figure,
    and for arms that keep one of several candidates.
    """
    sheet, failures, name = config.get("sheet"), config.get("failures"), config["name"]
    keeping = [arm["label"] for arm in config.get("arms", ()) if arm.get("keep")]
    if keeping and (sheet or failures):
        raise UserError(
            f"{name}: a sheet shows the images of a run, and what the arm {keeping[0]!r} keeps is "
            "of several runs: leave out sheet and failures"
        )
    given = {"rows": sheet} if isinstance(sheet, int) else sheet
    if given and config.get("figure") and figure_name(config, name) == name:
        raise UserError(f"{name}: its figure and its sheet would be one file: give figure.name")
    return (
        settings(Sheet, given, of=f"{name}: sheet") if given else None,
        settings(Failures, failures, of=f"{name}: failures") if failures else None,
    )


def check_sheets(config: Mapping[str, Any], metrics: Collection[str]) -> None:
    """Check the sheets before the runs are made. metrics: those that will be measured.

    Raises UserError for a wrong setting, and if the failures need a metric that is not measured.
    """
    _, failures = sheet_settings(config)
    if failures and not any(metric in metrics for metric in failures.metrics):
        wanted = " or ".join(failures.metrics)
        raise UserError(
            f"{config['name']}: its sheet of failures goes by {wanted}, which is not among "
            f"metrics=[{','.join(metrics)}]: add it, or name another metric in the table's config"
        )


def rendered_sheets(
    name: str, config: Mapping[str, Any], table: Table, runs: Sequence[Run], results: Path
) -> dict[Path, bytes]:
    """The PNG and SVG files of each sheet, with the runs of the table that exist.

    Raises UserError for a wrong setting and for data that are not on this machine.
    """
    sheet, failures = sheet_settings(config)
    found = {run.id: run for run in runs}
    drawn: dict[str, list[Image]] = {}
    if sheet:
        drawn[name] = _sheet(sheet, table, found)
    if failures:
        drawn[f"{name}-failures"] = _failures(failures, table, found)
    files: dict[Path, bytes] = {}
    for file, parts in drawn.items():
        if parts:
            files |= rendered_sheet(stacked(parts), child(results / "figures", f"{file}.png"))
    return files


# ------------------------------------------------------------------ runs side by side
def _sheet(asked: Sheet, table: Table, runs: Mapping[str, Run]) -> list[Image]:
    """A part for each setting, or one part with the settings of an arm."""
    if asked.arm:
        _check_arm(asked.arm, table)
        across = {
            f"{table.corner} = {column.heading}": named[asked.arm]
            for column in table.columns
            if asked.arm in (named := _arms_at(table, column, runs))
        }
        return [_part(across, asked.rows, asked.arm)] if across else []
    below = {column: _arms_at(table, column, runs) for column in table.columns}
    return [
        _part(named, asked.rows, _setting(table, column))
        for column, named in below.items()
        if named
    ]


def _part(named: _Named, rows: int, title: str) -> Image:
    made_with = _made_with(named)
    hidden = made_with.task.uses_mask
    return runs_sheet(named, made_with.dataset, hidden=hidden, rows=rows, title=title)


def _arms_at(table: Table, column: Column, runs: Mapping[str, Run]) -> dict[str, Run]:
    """Label of an arm -> its run at a setting, the first if several share a cell."""
    named: dict[str, Run] = {}
    for _, row, place, cell in table.cells():
        if row.kind == "arm" and place == column and cell.runs:
            named.setdefault(row.label, runs[cell.runs[0]])
    labels = dict.fromkeys(row.label for _, row, *_ in table.cells())
    return {label: named[label] for label in labels if label in named}


def _setting(table: Table, column: Column) -> str:
    """The title of a part of a sheet; "" if there is only one."""
    return f"{table.corner} = {column.heading}" if len(table.columns) > 1 else ""


def _made_with(named: _Named) -> Experiment:
    """The experiment of the first run, for the task and data set that all runs share."""
    return experiment(next(iter(named.values())).overrides())


def _check_arm(arm: str, table: Table) -> None:
    labels = list(dict.fromkeys(row.label for _, row, *_ in table.cells() if row.kind == "arm"))
    if arm not in labels:
        raise UserError(f"{table.name}: no arm is labelled {arm!r}.{suggest(arm, labels)}")


# ------------------------------------------------------------------ where an arm fails
def _failures(asked: Failures, table: Table, runs: Mapping[str, Run]) -> list[Image]:
    """A part for each setting at which the arm has a run."""
    _check_arm(asked.arm, table)
    below = {column: _arms_at(table, column, runs) for column in table.columns}
    return [
        _failed(asked, named, _setting(table, column))
        for column, named in below.items()
        if asked.arm in named
    ]


def _failed(asked: Failures, named: _Named, setting: str) -> Image:
    metric, scores = _scores(asked.metrics, named)
    values = {label: score.per_example or {} for label, score in scores.items()}
    ids = worst(scores[asked.arm], set.intersection(*map(set, values.values())), asked.rows)
    listed = [", ".join(f"{arm} {_short(of[i])}" for arm, of in values.items()) for i in ids]
    comments = [f"{metric}: {text}" for text in listed]
    title = ", ".join(filter(None, (setting, f"{asked.arm} at its worst by {metric}")))
    made_with = _made_with(named)
    hidden = made_with.task.uses_mask
    return examples_sheet(
        named, made_with.dataset, ids, hidden=hidden, comments=comments, title=title
    )


def _short(value: float) -> str:
    """Three digits without a trailing point."""
    return f"{value:#.3g}".rstrip(".")


def worst(score: Score, among: set[str], count: int) -> list[str]:
    """The ids of the worst values, worst first; ties are in the order of the ids."""
    sign = -1 if score.higher_is_better else 1
    values = score.per_example or {}
    return ranked({i: sign * values[i] for i in among})[:count]


def _scores(metrics: Sequence[str], named: _Named) -> tuple[str, dict[str, Score]]:
    """The first metric with values per example in all runs, and label -> score."""
    runs = {label: load_finished(run) for label, run in named.items()}
    for metric in metrics:
        scores = {label: run.scores[metric] for label, run in runs.items() if metric in run.scores}
        if len(scores) == len(runs) and all(score.per_example for score in scores.values()):
            return metric, scores
    raise UserError(
        f"failures: not all of {', '.join(named)} have {' or '.join(metrics)} per example: "
        "evaluate their runs with it, or name another metric in the table's config"
    )
