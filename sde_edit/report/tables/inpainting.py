"""Inpainting, two samplers against each other: mask size x steps per metric (Tables 2 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from sde_edit.errors import UserError
from sde_edit.registry import plugin
from sde_edit.report.cells import (
    common_convention,
    difference_cell,
    metrics_of,
    score_cell,
    settings_notes,
)
from sde_edit.report.results import RunResult, load_result
from sde_edit.report.selection import Setting, check_uniform, check_where, command, matches
from sde_edit.report.table import (
    Block,
    Cell,
    Column,
    Published,
    Row,
    Table,
    published_title,
    with_common_decimals,
)
from sde_edit.store.runs import Run

_AXES = ("sampler", "data.masks", "steps")
# What of a spec may follow from a cell's place in the table; all else is one for the whole table.
_DEPENDS = {"sampler": "sampler", "data": "data.masks", "steps": "steps"}
_Place = tuple[Setting, Setting, Setting]  # sampler, masks, steps


@plugin
@dataclass(frozen=True)
class Inpainting:
    """runs: the grid, override key -> values; needs `sampler`, `data.masks` and `steps`.

    arms: (baseline, contender); differences are contender - baseline. metrics: null is all that
    the runs have. where: further keys that choose among runs, as {model: shapes, seed: 0}.
    paper: published numbers, if any. remarks: further notes.
    """

    name: str
    title: str
    runs: dict[str, list[Setting]]
    arms: tuple[str, str]
    metrics: list[str] | None = None
    where: dict[str, Setting] | None = None
    paper: Published | None = None
    remarks: tuple[str, ...] = ()

    def build(self, runs: Sequence[Run]) -> Table:
        """The table of the sealed runs among `runs`; a missing one is a dash and a note.

        Raises UserError if no run fits, if the runs are of more than one experiment, if they
        disagree in a metric's convention, or for a number that is not finite.
        """
        self._check()
        check_where(self.where or {}, runs)
        fitting = [run for run in runs if matches(run.spec, self._allowed())]
        cells = self._cells(fitting)
        if not cells:
            raise UserError(f"no finished run for {self.name}. {self._absent(fitting, {})[0]}")
        blocks = self._blocks(cells)
        notes = [*settings_notes(list(cells.values())), *self._absent(fitting, cells)]
        notes += self._unscored(cells) + self._unpaired(cells) + self._paper_notes()
        return Table(
            self.name, self.title, "masks, steps", self._columns(), blocks, (*notes, *self.remarks)
        )

    # -- the grid

    def _check(self) -> None:
        for axis in _AXES:
            if axis not in self.runs:
                raise UserError(f"{self.name}: runs must give {axis!r}; it has {list(self.runs)}")
        for key, values in self.runs.items():
            if key not in _AXES and len(values) != 1:
                raise UserError(f"{self.name}: runs.{key} must have one value, not {values}")
        for key in set(self.where or {}) & set(self.runs):
            raise UserError(f"{self.name}: {key!r} is both in runs and in where; say it in runs")
        for arm in self.arms:
            if arm not in self.runs["sampler"]:
                known = self.runs["sampler"]
                raise UserError(f"{self.name}: arm {arm!r} is not in runs.sampler {known}")

    def _allowed(self) -> dict[str, list[Setting]]:
        chosen = {key: [value] for key, value in (self.where or {}).items()}
        return {**self.runs, "sampler": list(self.arms), **chosen}

    def _pairs(self) -> list[tuple[Setting, Setting]]:
        return list(product(self.runs["data.masks"], self.runs["steps"]))

    def _places(self) -> list[_Place]:
        return [(arm, *pair) for arm, pair in product(self.arms, self._pairs())]

    def _columns(self) -> tuple[Column, ...]:
        return tuple(Column(f"{masks} masks", str(steps)) for masks, steps in self._pairs())

    def _cells(self, runs: Sequence[Run]) -> dict[_Place, RunResult]:
        sealed = [run for run in map(load_result, runs) if run is not None]
        check_uniform(sealed, _DEPENDS)
        found = {_place(run): run for run in sealed}
        return {place: found[place] for place in self._places() if place in found}

    # -- blocks

    def _blocks(self, cells: dict[_Place, RunResult]) -> tuple[Block, ...]:
        found = metrics_of(list(cells.values()))
        metrics = found if self.metrics is None else self.metrics
        if not metrics:
            remedy = self._command("evaluate", next(iter(cells)))
            raise UserError(f"{self.name}: its runs have no scores. Make them with `{remedy}`")
        beside = self._comparable(cells)
        ours = [self._block(metric, cells, beside=beside) for metric in metrics]
        apart = [name for name in self._published() if not (beside and name in metrics)]
        return (*ours, *map(self._paper_block, apart))

    def _block(self, metric: str, cells: dict[_Place, RunResult], *, beside: bool) -> Block:
        scored = [run for run in cells.values() if metric in run.scores]
        if not scored:
            return Block(metric, self._arm_rows(metric, cells))
        convention, higher = common_convention(metric, scored)
        difference = self._difference_row(metric, cells)
        paper = self._paper_rows(metric) if beside else ()
        rows = (*self._arm_rows(metric, cells), difference, *paper)
        return Block(metric, rows, higher, self._summary(difference), convention)

    def _arm_rows(self, metric: str, cells: dict[_Place, RunResult]) -> tuple[Row, ...]:
        runs = map(cells.get, self._places())
        shown = with_common_decimals(
            score_cell(run, metric) if run and metric in run.scores else Cell() for run in runs
        )
        n = len(self._pairs())
        rows = (shown[:n], shown[n:])
        return tuple(Row(_label(arm), "arm", row) for arm, row in zip(self.arms, rows, strict=True))

    def _difference_row(self, metric: str, cells: dict[_Place, RunResult]) -> Row:
        baseline, contender = self.arms
        found = [self._difference(metric, cells, pair) for pair in self._pairs()]
        shown = with_common_decimals(cell if isinstance(cell, Cell) else Cell() for cell in found)
        label = f"{contender.upper()} \N{MINUS SIGN} {baseline.upper()}"
        return Row(label, "difference", shown)

    def _difference(
        self, metric: str, cells: dict[_Place, RunResult], pair: tuple[Setting, Setting]
    ) -> Cell | str:
        baseline, contender = (cells.get((arm, *pair)) for arm in self.arms)
        if not (baseline and contender):
            return ""
        if metric not in baseline.scores or metric not in contender.scores:
            return ""
        return difference_cell([contender], [baseline], metric)

    def _summary(self, difference: Row) -> str:
        verdicts = [cell.verdict for cell in difference.cells if cell.verdict]
        better, worse = verdicts.count("better"), verdicts.count("worse")
        lacking = len(difference.cells) - len(verdicts)
        return (
            f"{self.arms[1].upper()} better in {better} of {len(verdicts)} cells, worse in "
            f"{worse}, undecided in {len(verdicts) - better - worse} (95 % paired bootstrap)"
            + (f"; {lacking} not compared." if lacking else ".")
        )

    # -- the paper's numbers

    def _published(self) -> list[str]:
        return list(self.paper.values) if self.paper else []

    def _comparable(self, cells: dict[_Place, RunResult]) -> bool:
        if not self.paper:
            return False
        wanted = {key: [value] for key, value in self.paper.where.items()}
        return all(matches(run.spec, wanted) for run in cells.values())

    def _paper_rows(self, metric: str) -> tuple[Row, ...]:
        if not self.paper or metric not in self.paper.values:
            return ()
        arms = self.paper.values[metric]
        cells = with_common_decimals(
            self._paper_cell(arms, arm, pair) for arm in arms for pair in self._pairs()
        )
        n = len(self._pairs())
        return tuple(
            Row(f"Paper {_label(arm)}", "paper", cells[i * n : (i + 1) * n])
            for i, arm in enumerate(arms)
        )

    def _paper_cell(
        self,
        arms: dict[str, dict[str, list[float]]],
        arm: str,
        pair: tuple[Setting, Setting],
    ) -> Cell:
        masks, steps = pair
        if not self.paper or masks not in arms[arm] or steps not in self.paper.steps:
            return Cell()
        return Cell(arms[arm][str(masks)][self.paper.steps.index(int(steps))])

    def _paper_block(self, metric: str) -> Block:
        assert self.paper
        title = published_title(metric)
        return Block(title, self._paper_rows(metric), metric in self.paper.higher)

    def _paper_notes(self) -> list[str]:
        if not self.paper:
            return []
        return [
            f"Published numbers: {self.paper.source}; {self.paper.setting}. They compare with "
            "runs of that model and data only; other runs compare with them in the sign of the "
            "difference alone."
        ]

    # -- what is missing

    def _command(self, verb: str, place: _Place) -> str:
        fixed = {key: values[0] for key, values in self.runs.items() if key not in _AXES}
        axes = dict(zip(_AXES, place, strict=True))
        return command(verb, {**fixed, **axes, **(self.where or {})})

    def _absent(self, fitting: Sequence[Run], cells: dict[_Place, RunResult]) -> list[str]:
        begun = {_place(run): run for run in fitting if run.seal is None}
        notes = []
        for place in self._places():
            if place not in cells:
                state = "begun, not finished" if place in begun else "no run"
                notes.append(
                    f"{_named(place)}: {state}. Make it with `{self._command('run', place)}`"
                )
        return notes

    def _unscored(self, cells: dict[_Place, RunResult]) -> list[str]:
        wanted = self.metrics or metrics_of(list(cells.values()))
        notes = []
        for place, run in cells.items():
            lacking = [metric for metric in wanted if metric not in run.scores]
            if lacking:
                text = f"{_named(place)}: run {run.id} lacks {', '.join(lacking)}."
                notes.append(f"{text} Measure with `{self._command('evaluate', place)}`")
        return notes

    def _unpaired(self, cells: dict[_Place, RunResult]) -> list[str]:
        wanted = self.metrics or metrics_of(list(cells.values()))
        found = (self._difference(m, cells, pair) for m, pair in product(wanted, self._pairs()))
        reasons = dict.fromkeys(reason for reason in found if isinstance(reason, str) and reason)
        return [f"No paired difference: {reason}." for reason in reasons]


def _place(run: Run | RunResult) -> _Place:
    spec = run.spec
    return spec.sampler.name, spec.data.params["masks"], spec.steps


def _named(place: _Place) -> str:
    arm, masks, steps = place
    return f"{_label(str(arm))}, {masks} masks, {steps} steps"


def _label(arm: str) -> str:
    return f"Inpaint-{arm.upper()}"
