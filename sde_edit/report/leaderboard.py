"""Lists of runs, from their small files alone: specs, seals, rows and the heads of scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sde_edit.api.spec import RunSpec
from sde_edit.errors import UserError
from sde_edit.registry import suggest
from sde_edit.report.cells import conventions, metrics_of
from sde_edit.report.selection import flatten, varying
from sde_edit.report.table import Block, Cell, Column, Row, Table, arrow, with_common_decimals
from sde_edit.store.runs import Headline, Run

State = Literal["finished", "partial"]
STATES: tuple[State, ...] = ("finished", "partial")
MAIN_KEYS = ("task", "sampler", "model", "data", "steps")
COSTS = ("seconds/image", "evaluations/image")


@dataclass(frozen=True)
class Listing:
    """A run as lists show it.

    state: finished if every image that was asked for is there, whatever part of the data set that
    is; else partial. n: its images; of: those of its data set, None before it is sealed.
    seconds, evaluations: means per image, None if unknown. problems: its damaged scores.
    """

    run: Run
    spec: RunSpec
    state: State
    n: int
    of: int | None
    scores: Mapping[str, Headline]
    seconds: float | None
    evaluations: float | None
    problems: Sequence[str]

    @property
    def id(self) -> str:
        return self.run.id

    @property
    def images(self) -> str:
        """The number of its images, and how many its data set has."""
        return str(self.n) if self.of is None else f"{self.n} of {self.of}"


def list_run(run: Run) -> Listing:
    """Reads neither images nor what is long in the scores."""
    seal = run.seal
    records = {record.id: record for record in run.iter_records()}.values()
    scores, problems = run.headlines()
    return Listing(
        run=run,
        spec=run.spec,
        state="finished" if seal and seal.n == len(records) <= _files(run) else "partial",
        n=seal.n if seal else len(records),
        of=seal.of if seal else None,
        scores=scores,
        seconds=_mean([record.seconds for record in records]),
        evaluations=_mean([record.cost_alone[0] for record in records]),
        problems=problems,
    )


def _files(run: Run) -> int:
    """The number of files among its outputs; fewer than images are images lost."""
    folder = run.path / "outputs"
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


def _mean(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(costs) else None


# ------------------------------------------------------------------ tables
def status_table(listings: Sequence[Listing]) -> Table:
    """One line a run: the settings in which it differs from the others, and how far it is."""
    keys = varying([one.spec for one in listings])
    columns: dict[str, Iterable[Cell]] = {
        **_settings(listings, keys),
        "images": (Cell(text=one.images) for one in listings),
        "state": (Cell(text=one.state) for one in listings),
        "metrics": (Cell(text=", ".join(one.scores)) for one in listings),
    }
    return _table("status", listings, columns)


def leaderboard_table(listings: Sequence[Listing], metrics: Sequence[str]) -> Table:
    """One line a run: the settings in which it differs, scores, images, costs and state."""
    keys = varying([one.spec for one in listings])
    columns: dict[str, Iterable[Cell]] = {
        **_settings(listings, keys),
        **{_heading(metric, listings): _scores(metric, listings) for metric in metrics},
        "n": (Cell(text=one.images) for one in listings),
        COSTS[0]: with_common_decimals(Cell(one.seconds) for one in listings),
        COSTS[1]: with_common_decimals(Cell(one.evaluations) for one in listings),
        "state": (Cell(text=one.state) for one in listings),
    }
    notes = [
        note for note in (common_settings(listings), *_disagreements(listings, metrics)) if note
    ]
    return replace(_table("runs", listings, columns), notes=tuple(notes))


def _table(name: str, listings: Sequence[Listing], columns: Mapping[str, Iterable[Cell]]) -> Table:
    lines = zip(*columns.values(), strict=True)
    rows = (Row(one.id, "arm", cells) for one, cells in zip(listings, lines, strict=True))
    headings = tuple(Column("", heading) for heading in columns)
    return Table(name, "", "run", headings, (Block("", tuple(rows)),))


def common_settings(listings: Sequence[Listing]) -> str:
    """The main settings that all the runs share, in words; "" if there are none."""
    keys = varying([one.spec for one in listings])
    flats = [flatten(one.spec) for one in listings[:1]]
    shared = [(key, flat[key]) for flat in flats for key in MAIN_KEYS if key in flat]
    words = ", ".join(f"{key} {_text(key, value)}" for key, value in shared if key not in keys)
    return f"In every run: {words}." if words else ""


def _settings(listings: Sequence[Listing], keys: Sequence[str]) -> dict[str, list[Cell]]:
    flats = [flatten(one.spec) for one in listings]
    return {
        key: [Cell(text=_text(key, flat[key]) if key in flat else "") for flat in flats]
        for key in keys
    }


def _text(key: str, value: Any) -> str:
    """A value in one line; it may come from a stranger's results."""
    shown = " ".join(str(value).split())
    shown = "".join(letter for letter in shown if letter.isprintable())
    return shown[:12] if key.endswith(".digest") else shown


def _heading(metric: str, listings: Sequence[Listing]) -> str:
    directions = {one.scores[metric].higher_is_better for one in _with(metric, listings)}
    return f"{metric} {arrow(directions.pop())}" if len(directions) == 1 else metric


def _with(metric: str, listings: Sequence[Listing]) -> list[Listing]:
    return [one for one in listings if metric in one.scores]


def _scores(metric: str, listings: Sequence[Listing]) -> Sequence[Cell]:
    found = (one.scores.get(metric) for one in listings)
    return with_common_decimals(Cell(s.value, s.low, s.high) if s else Cell() for s in found)


def _disagreements(listings: Sequence[Listing], metrics: Sequence[str]) -> list[str]:
    """A note for each metric whose scores cannot be compared."""
    notes = []
    for metric in metrics:
        found = conventions(metric, _with(metric, listings))
        if len(found) > 1:
            parts = (f"{text!r} (runs {', '.join(ids)})" for (text, _), ids in found.items())
            notes.append(f"{metric} is not comparable, it was measured as {'; '.join(parts)}.")
    return notes


# ------------------------------------------------------------------ order
def best_first(listings: Sequence[Listing], metric: str) -> list[Listing]:
    """The runs by their score of a metric, the best first; those without it come last.

    Raises UserError with the nearest name if no run has the metric.
    """
    scored = _with(metric, listings)
    if not scored:
        raise UserError(f"no run has metric {metric!r}.{suggest(metric, metrics_of(listings))}")
    sign = -1 if scored[0].scores[metric].higher_is_better else 1
    ordered = sorted(scored, key=lambda one: sign * one.scores[metric].value)
    return [*ordered, *(one for one in listings if metric not in one.scores)]


# ------------------------------------------------------------------ records
def leaderboard_records(
    listings: Sequence[Listing], metrics: Sequence[str]
) -> list[dict[str, Any]]:
    """As `leaderboard_table`, unrounded, with every main setting and a key for each number."""
    settings = setting_records([one.spec for one in listings])
    return [
        {
            "run": one.id,
            **own,
            **{key: value for metric in metrics for key, value in _numbers(metric, one).items()},
            "n": one.n,
            "of": one.of,
            "seconds_per_image": one.seconds,
            "evaluations_per_image": one.evaluations,
            "state": one.state,
        }
        for one, own in zip(listings, settings, strict=True)
    ]


def setting_records(specs: Sequence[RunSpec]) -> list[dict[str, Any]]:
    """For each run its main settings and those in which it differs from the others."""
    keys = dict.fromkeys((*MAIN_KEYS, *varying(specs)))
    return [{key: flat.get(key) for key in keys} for flat in map(flatten, specs)]


def _numbers(metric: str, one: Listing) -> dict[str, float | None]:
    score = one.scores.get(metric)
    parts = {"": "value", "_low": "low", "_high": "high"}
    return {metric + end: getattr(score, part, None) for end, part in parts.items()}
