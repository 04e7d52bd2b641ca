"""Any samplers, settings or tasks against each other: an arm a line, one setting or NFE across."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, ClassVar

import numpy as np
from pydantic import ConfigDict

from sde_edit.api.metric import centred_interval
from sde_edit.api.spec import RunSpec
from sde_edit.errors import UserError
from sde_edit.registry import plugin
from sde_edit.report.cells import (
    Cost,
    common_convention,
    cost_cell,
    difference_cell,
    metrics_of,
    settings_notes,
    without_spread,
)
from sde_edit.report.results import RunResult, load_result
from sde_edit.report.selection import (
    Setting,
    check_equal,
    check_uniform,
    check_where,
    command,
    flatten,
    format_override,
    matches,
    specifies,
)
from sde_edit.report.table import (
    Block,
    Cell,
    Column,
    Row,
    Table,
    published_title,
    with_common_decimals,
)
from sde_edit.store.runs import Run

_NFE = "nfe"


_COSTS: dict[Cost, str] = {
    "evaluations": "network evaluations per image",
    "calls": "network calls, one after the other",
    "seconds": "seconds per image",
}


_Cells = dict[tuple[str, Setting], list[RunResult]]  # arm's label, column -> runs


@dataclass(frozen=True)
class Arm:
    """A line. set: override keys -> value or values, in place of those of `runs`. evaluations: of
    eps per step, where NFE goes across. same_as: the label of an arm; counted is how many images
    equal its images in every bit.
    """

    label: str
    set: dict[str, Setting | list[Setting]]
    evaluations: int = 1
    same_as: str = ""
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)


Published = list[float | None] | dict[str, float]


@dataclass(frozen=True)
class Paper:
    """Published numbers: values[metric or cost][label] along the columns, null where there is none;
    or by column, as {0.5: 7.57}, if the table may have others. Without a column of theirs a
    metric's numbers are left out.
    """

    source: str
    setting: str
    values: dict[str, dict[str, Published]]
    higher: list[str] = field(default_factory=list)
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)


@plugin
@dataclass(frozen=True)
class Arms:
    """runs: the grid that arms share, override key -> values. column: the key whose values go
    across, or `nfe`: steps times the arm's evaluations per step. average: a key; runs that differ
    in it alone share a cell, as three seeds. baseline: the label from which others differ.
    metrics: null is all that the runs have, [] is none. costs: further blocks, of what an image
    costs. also: overrides that the runs are made with and that do not tell them apart, as
    {data.limit: 64}.
    """

    name: str
    title: str
    runs: dict[str, list[Setting]]
    arms: tuple[Arm, ...]
    column: str
    average: str | None = None
    baseline: str | None = None
    metrics: list[str] | None = None
    costs: tuple[Cost, ...] = ()
    also: dict[str, Setting | list[Setting]] = field(default_factory=dict)
    where: dict[str, Setting] | None = None
    paper: Paper | None = None
    remarks: tuple[str, ...] = ()

    def build(self, runs: Sequence[Run]) -> Table:
        """The table of the sealed runs among `runs`; a missing one is a dash and a note.

        Raises UserError if no run fits, if the runs of an arm are of more than one experiment, if
        runs disagree in a metric's convention, or for a number that is not finite.
        """
        self._check()
        check_where(self.where or {}, runs)
        cells = self._cells(runs)
        every = [run for group in cells.values() for run in group]
        missing = self._absent(cells)
        if not every:
            raise UserError(f"no finished run for {self.name}. {missing[0]}")
        blocks = [self._metric_block(m, cells) for m in self._metrics(every)]
        if any(arm.same_as for arm in self.arms):
            blocks.append(self._identity_block(cells, {run.id: run for run in runs}))
        blocks += [self._cost_block(cost, cells) for cost in self.costs]
        notes = (
            *settings_notes(every),
            *self._timing_note(every),
            *missing,
            *self._published_note(),
            *self.remarks,
        )
        corner = "NFE" if self.column == _NFE else self.column.rpartition(".")[2]
        columns = tuple(Column("", str(format_override(value))) for value in self._columns())
        blocks += self._paper_blocks()
        return Table(self.name, self.title, corner, columns, tuple(blocks), notes)

    def _metrics(self, runs: Sequence[RunResult]) -> list[str]:
        return metrics_of(runs) if self.metrics is None else self.metrics

    def _timing_note(self, runs: Sequence[RunResult]) -> list[str]:
        machines = dict.fromkeys(machine for run in runs for machine in run.machines)
        if "seconds" not in self.costs or not machines:
            return []
        return [f"Seconds: an image's share of the wall time, on {'; '.join(machines)}."]

    # -- the grid

    def _check(self) -> None:
        labels = [arm.label for arm in self.arms]
        for label in [self.baseline, *(arm.same_as for arm in self.arms)]:
            if label and label not in labels:
                raise UserError(f"{self.name}: no arm is labelled {label!r}. Known: {labels}")
        for arm in self.arms:
            several = {key for key, values in self._grid(arm).items() if len(values) > 1}
            known = {self.average, self._key}
            if wrong := sorted(several - known):
                raise UserError(
                    f"{self.name}: arm {arm.label!r} has several values of {', '.join(wrong)}; "
                    "only the key that goes across and the one that is averaged may"
                )

    @property
    def _key(self) -> str:
        """The key of the spec that the columns come from."""
        return "steps" if self.column == _NFE else self.column

    def _grid(self, arm: Arm) -> dict[str, list[Setting]]:
        own = {key: v if isinstance(v, list) else [v] for key, v in arm.set.items()}
        chosen = {key: [value] for key, value in (self.where or {}).items()}
        return {**self.runs, **own, **chosen}

    def _column_of(self, arm: Arm, flat: Mapping[str, Any]) -> Setting:
        return int(flat["steps"]) * arm.evaluations if self.column == _NFE else flat[self.column]

    def _columns_of(self, arm: Arm, spec: RunSpec) -> list[Setting]:
        """Its own; all of the arm's for images made elsewhere, which are the same in each."""
        if specifies(spec, self._key):
            return [self._column_of(arm, flatten(spec))]
        return [self._column_of(arm, {self._key: value}) for value in self._grid(arm)[self._key]]

    def _columns(self) -> list[Setting]:
        found: set[Any] = {
            self._column_of(arm, {self._key: value})
            for arm in self.arms
            for value in self._grid(arm)[self._key]
        }
        order = self.runs.get(self.column, [])
        return sorted(found, key=order.index if set(order) >= found else None)

    def _cells(self, runs: Sequence[Run]) -> _Cells:
        cells: _Cells = {}
        every: list[RunResult] = []
        depends = {key.partition(".")[0]: key for key in (self.average, self._key) if key}
        for arm in self.arms:
            fitting = [run for run in runs if matches(run.spec, self._grid(arm))]
            sealed = [run for run in map(load_result, fitting) if run is not None]
            check_uniform(sealed, depends)
            for run in sealed:
                for column in self._columns_of(arm, run.spec):
                    cells.setdefault((arm.label, column), []).append(run)
            every += sealed
        vary = {key.partition(".")[0] for arm in self.arms for key in arm.set}
        check_equal(every, {*vary, *depends})
        return cells

    # -- blocks

    def _rows(self, cell_of: Callable[[Arm, Setting], Cell]) -> tuple[Row, ...]:
        columns = self._columns()
        cells = with_common_decimals(
            cell_of(arm, column) for arm, column in product(self.arms, columns)
        )
        n = len(columns)
        return tuple(
            Row(arm.label, "arm", cells[i * n : (i + 1) * n]) for i, arm in enumerate(self.arms)
        )

    def _metric_block(self, metric: str, cells: _Cells) -> Block:
        scored = [run for group in cells.values() for run in group if metric in run.scores]
        if not scored:
            return Block(metric, self._rows(lambda arm, column: Cell()))
        convention, higher = common_convention(metric, scored)

        def cell(arm: Arm, column: Setting) -> Cell:
            return mean_cell(cells.get((arm.label, column), []), metric)

        rows = (*self._rows(cell), *self._differences(metric, cells))
        return Block(metric, rows, higher, "", convention)

    def _differences(self, metric: str, cells: _Cells) -> tuple[Row, ...]:
        if (base := self.baseline) is None:
            return ()

        def scored(label: str, column: Setting) -> list[RunResult]:
            return [run for run in cells.get((label, column), []) if metric in run.scores]

        rows = []
        for label in (arm.label for arm in self.arms if arm.label != base):
            pairs = [(scored(label, column), scored(base, column)) for column in self._columns()]
            found = [difference_cell(*pair, metric) if all(pair) else "" for pair in pairs]
            shown = with_common_decimals(
                cell if isinstance(cell, Cell) else Cell() for cell in found
            )
            rows.append(Row(f"{label} \N{MINUS SIGN} {base}", "difference", shown))
        return tuple(rows)

    def _identity_block(self, cells: _Cells, runs: Mapping[str, Run]) -> Block:
        def cell(arm: Arm, column: Setting) -> Cell:
            ours, theirs = cells.get((arm.label, column)), cells.get((arm.same_as, column))
            if not ours or not theirs:
                return Cell()
            target = runs[theirs[0].id].rows()
            rows = [(i, row) for run in ours for i, row in runs[run.id].rows().items()]
            same = sum(i in target and target[i].pixels == row.pixels for i, row in rows)
            ids = tuple(run.id for run in [*ours, theirs[0]])
            return Cell(same, runs=ids, decimals=0, text=f"{same} of {len(rows)}")

        of = dict.fromkeys(arm.same_as for arm in self.arms if arm.same_as)
        title = f"images equal in every bit to those of {' or '.join(of)}"
        return Block(title, tuple(row for row in self._rows(cell) if _filled(row)), True)

    def _cost_block(self, cost: Cost, cells: _Cells) -> Block:
        def cell(arm: Arm, column: Setting) -> Cell:
            return cost_cell(cells.get((arm.label, column), []), cost)

        return Block(_COSTS[cost], self._rows(cell), False)

    # -- the paper's numbers, and what is missing

    def _paper_blocks(self) -> list[Block]:
        if not self.paper:
            return []
        blocks = [
            Block(_published_title(metric), self._paper_rows(values), metric in self.paper.higher)
            for metric, values in self.paper.values.items()
        ]
        return [block for block in blocks if any(_filled(row) for row in block.rows)]

    def _paper_rows(self, values: Mapping[str, Published]) -> tuple[Row, ...]:
        columns = len(self._columns())
        lines = [self._paper_line(label, line) for label, line in values.items()]
        cells = with_common_decimals(Cell(value) for line in lines for value in line)
        return tuple(
            Row(f"Paper {label}", "paper", cells[i * columns : (i + 1) * columns])
            for i, label in enumerate(values)
        )

    def _paper_line(self, label: str, line: Published) -> list[float | None]:
        columns = [str(column) for column in self._columns()]
        if isinstance(line, dict):
            return [line.get(column) for column in columns]
        if len(line) != len(columns):
            raise UserError(f"{self.name}: paper.values of {label!r}: {len(columns)} are needed")
        return line

    def _published_note(self) -> list[str]:
        if not self.paper:
            return []
        return [f"Published numbers: {self.paper.source}; {self.paper.setting}."]

    def _absent(self, cells: _Cells) -> list[str]:
        notes = []
        for arm in self.arms:
            grid = self._grid(arm)
            for value in grid[self._key]:
                if (arm.label, self._column_of(arm, {self._key: value})) not in cells:
                    place = {k: values[0] for k, values in grid.items()} | {self._key: value}
                    place |= {k: format_override(v) for k, v in self.also.items()}
                    notes.append(
                        f"{arm.label}, {self.column} {value}: no finished run. Make it with "
                        f"`{command('run', place)}`"
                    )
        return notes


def _published_title(name: str) -> str:
    """Of a metric or a cost."""
    costs = {str(cost): words for cost, words in _COSTS.items()}
    return (
        f"Published {costs[name]}, another experiment" if name in costs else published_title(name)
    )


def mean_cell(runs: Sequence[RunResult], metric: str) -> Cell:
    """The mean over runs that differ in the averaged key; one run as it is. Its interval is that
    of the mean under the common resampling of the examples.

    Raises UserError if the runs hold different examples.
    """
    scores = [run.scores[metric] for run in runs if metric in run.scores]
    if not scores:
        return Cell()
    if len({run.examples for run in runs}) != 1:
        who = ", ".join(f"{run.id} ({run.n} images)" for run in runs)
        raise UserError(
            f"runs {who} share a cell and hold different examples: finish those that have fewer, "
            "with the data.limit of the others"
        )
    value = sum(score.value for score in scores) / len(scores)
    if len(scores) == 1:
        low, high = scores[0].low, scores[0].high
    else:
        low, high = centred_interval(value, np.mean([s.replicates for s in scores], axis=0))
    ids = tuple(run.id for run in runs)
    return without_spread(Cell(value, low, high, scores[0].n, runs[0].of, ids))


def _filled(row: Row) -> bool:
    return any(cell.value is not None for cell in row.cells)
