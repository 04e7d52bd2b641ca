"""Compares samplers, settings or tasks: one row per arm, one column per setting or NFE."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

from sde_edit.errors import UserError
from sde_edit.registry import plugin
from sde_edit.report.cells import (
    Cost,
    common_convention,
    cost_cell,
    difference_cell,
    mean_cell,
    metrics_of,
    settings_notes,
)
from sde_edit.report.grid import Arm, Cells, Grid, Place
from sde_edit.report.published import Paper
from sde_edit.report.results import RunResult
from sde_edit.report.selection import Setting, check_where, command
from sde_edit.report.table import (
    MINUS,
    Block,
    Cell,
    Row,
    Table,
    published_title,
    split_into_rows,
    with_common_decimals,
)
from sde_edit.store.runs import Run

_COSTS: dict[Cost, str] = {
    "evaluations": "network evaluations per image",
    "calls": "network calls, one after the other",
    "seconds": "seconds per image",
}


@plugin
@dataclass(frozen=True)
class Arms:
    """Settings of the table.

    title: the heading of the table.
    runs: the grid that arms share, override key -> values.
    arms: the rows; each has a label and the overrides that make its runs.
    column: the key whose values are the columns, or `nfe`: steps times the arm's evaluations per
    step.
    group: a key whose values span neighbouring columns, as `data.masks` spans steps.
    average: a key, such as seed; runs that differ only in it share a cell. They are repetitions, or
    candidates for each image in an arm with `keep`.
    baseline: the label of the arm that is subtracted from the others, apart from arms that have
    another one to compare with (`against`) and arms that are that other one.
    summary: whether to count the verdicts of differences and to note why some are missing.
    metrics: the metrics to show; null: all that the runs have, []: none.
    costs: costs per image to show in further blocks.
    also: overrides that the runs need but that do not select them, as {data.limit: 64}.
    where: further keys that select runs, as {model: shapes, seed: 0}.
    paper: published numbers, by the labels of the arms, and which runs they may stand beside.
    remarks: notes to print below the table.
    """

    name: str
    title: str
    runs: dict[str, list[Setting]]
    arms: tuple[Arm, ...]
    column: str
    group: str | None = None
    average: str | None = None
    baseline: str | None = None
    summary: bool = False
    metrics: list[str] | None = None
    costs: tuple[Cost, ...] = ()
    also: dict[str, Setting | list[Setting]] = field(default_factory=dict)
    where: dict[str, Setting] | None = None
    paper: Paper | None = None
    remarks: tuple[str, ...] = ()

    def build(self, runs: Sequence[Run]) -> Table:
        """The table of the sealed runs among `runs`; a missing one is a dash and a note.

        Raises UserError if no run fits, if the runs are of more than one experiment, if they
        disagree in a metric's convention, or for a number that is not finite.
        """
        self._check()
        check_where(self.where or {}, runs)
        cells = self._grid.cells(runs)
        results = [run for group in cells.values() for run in group]
        missing = self._grid.missing(cells, runs)
        if not results:
            raise UserError(f"no finished run for {self.name}. {missing[0]}")
        notes = (
            *settings_notes(results),
            *self._timing_note(results),
            *missing,
            *(self._not_compared(cells) if self.summary else ()),
            *([self.paper.note()] if self.paper else []),
            *self.remarks,
        )
        columns = tuple(map(self._grid.heading, self._grid.places()))
        blocks = self._blocks(cells, {run.id: run for run in runs})
        return Table(self.name, self.title, self._grid.corner(), columns, blocks, notes)

    @cached_property
    def _grid(self) -> Grid:
        return Grid(
            name=self.name,
            runs=self.runs,
            arms=self.arms,
            column=self.column,
            group=self.group,
            average=self.average,
            also=self.also,
            where=self.where or {},
        )

    def _check(self) -> None:
        labels = [arm.label for arm in self.arms]
        referred = (label for arm in self.arms for label in (arm.same_as, arm.against))
        for label in (self.baseline, *referred):
            if label and label not in labels:
                raise UserError(f"{self.name}: no arm is labelled {label!r}. Known: {labels}")
        self._grid.check()

    # -- blocks

    def _blocks(self, cells: Cells, runs: Mapping[str, Run]) -> tuple[Block, ...]:
        results = [run for group in cells.values() for run in group]
        metrics = self._metrics(results)
        comparable = self.paper is not None and self.paper.comparable(self._named(cells))
        beside = self._published & set(metrics) if comparable else set()
        blocks = [self._metric_block(m, cells, published=m in beside) for m in metrics]
        if any(arm.same_as for arm in self.arms):
            blocks.append(self._identity_block(cells, runs))
        blocks += [self._cost_block(cost, cells) for cost in self.costs]
        if not blocks:
            remedy = command("evaluate", self._grid.overrides(self.arms[0], {}))
            raise UserError(f"{self.name}: its runs have no scores. Make them with `{remedy}`")
        return (*blocks, *self._paper_blocks(self._published - beside))

    def _metrics(self, results: Sequence[RunResult]) -> list[str]:
        return metrics_of(results) if self.metrics is None else self.metrics

    def _rows(self, cell_of: Callable[[Arm, Place], Cell]) -> tuple[Row, ...]:
        both = product(self.arms, self._grid.places())
        cells = with_common_decimals(cell_of(arm, place) for arm, place in both)
        return split_into_rows([arm.label for arm in self.arms], "arm", cells)

    def _metric_block(self, metric: str, cells: Cells, *, published: bool) -> Block:
        scored = [run for group in cells.values() for run in group if metric in run.scores]
        if not scored:
            return Block(metric, self._rows(lambda arm, place: Cell()))
        convention, higher = common_convention(metric, scored)

        def cell(arm: Arm, place: Place) -> Cell:
            return mean_cell(cells.get((arm.label, place), []), metric)

        differences = [self._difference_row(arm, metric, cells) for arm in self._contenders]
        rows: tuple[Row, ...] = (*self._rows(cell), *differences)
        if self.paper and published:
            rows += self.paper.rows(metric, self._grid.places())
        summary = " ".join(filter(None, map(self._summary, self._contenders, differences)))
        return Block(metric, rows, higher, summary, convention)

    def _identity_block(self, cells: Cells, runs: Mapping[str, Run]) -> Block:
        def cell(arm: Arm, place: Place) -> Cell:
            ours, theirs = cells.get((arm.label, place)), cells.get((arm.same_as, place))
            if not ours or not theirs:
                return Cell()
            target = runs[theirs[0].id].rows()
            rows = [(i, row) for run in ours for i, row in runs[run.id].rows().items()]
            same = sum(i in target and target[i].pixels == row.pixels for i, row in rows)
            ids = tuple(run.id for run in [*ours, theirs[0]])
            return Cell(same, runs=ids, decimals=0, text=f"{same} of {len(rows)}")

        targets = dict.fromkeys(arm.same_as for arm in self.arms if arm.same_as)
        title = f"images equal in every bit to those of {' or '.join(targets)}"
        return Block(title, tuple(row for row in self._rows(cell) if _filled(row)), True)

    def _cost_block(self, cost: Cost, cells: Cells) -> Block:
        def cell(arm: Arm, place: Place) -> Cell:
            return cost_cell(cells.get((arm.label, place), []), cost)

        return Block(_COSTS[cost], self._rows(cell), False)

    # -- differences from the baseline

    @property
    def _contenders(self) -> list[Arm]:
        return [arm for arm in self.arms if self._rival(arm)]

    def _rival(self, arm: Arm) -> str | None:
        """The label of the arm that is subtracted from this one."""
        compared_with = {self.baseline, *(other.against for other in self.arms)}
        return arm.against or (None if arm.label in compared_with else self.baseline)

    def _differences(self, arm: Arm, metric: str, cells: Cells) -> list[Cell | str]:
        """For each place the difference, or why there is none; "" where a score is missing."""

        def scored(label: str | None, place: Place) -> list[RunResult]:
            return [r for r in cells.get((str(label), place), []) if metric in r.scores]

        rival = self._rival(arm)
        pairs = [(scored(arm.label, p), scored(rival, p)) for p in self._grid.places()]
        return [difference_cell(*pair, metric) if all(pair) else "" for pair in pairs]

    def _difference_row(self, arm: Arm, metric: str, cells: Cells) -> Row:
        (base,) = (other.name for other in self.arms if other.label == self._rival(arm))
        found = self._differences(arm, metric, cells)
        shown = with_common_decimals(c if isinstance(c, Cell) else Cell() for c in found)
        return Row(f"{arm.name} {MINUS} {base}", "difference", shown)

    def _summary(self, arm: Arm, difference: Row) -> str:
        if not self.summary:
            return ""
        verdicts = [cell.verdict for cell in difference.cells if cell.verdict]
        better, worse = verdicts.count("better"), verdicts.count("worse")
        lacking = len(difference.cells) - len(verdicts)
        return (
            f"{arm.name} better in {better} of {len(verdicts)} cells, worse in {worse}, "
            f"undecided in {len(verdicts) - better - worse} (95 % paired bootstrap)"
            + (f"; {lacking} not compared." if lacking else ".")
        )

    # -- published numbers

    def _named(self, cells: Cells) -> list[RunResult]:
        """The runs of the arms that have published numbers; all runs if no arm is named."""
        lines = self.paper.values.values() if self.paper else ()
        named = {label for line in lines for label in line} & {arm.label for arm in self.arms}
        return [
            run
            for (label, _), group in cells.items()
            if label in named or not named
            for run in group
        ]

    @property
    def _published(self) -> set[str]:
        """The metrics and costs with published numbers."""
        return set(self.paper.values) if self.paper else set()

    def _paper_blocks(self, apart: Collection[str]) -> list[Block]:
        if not self.paper:
            return []
        places, higher = self._grid.places(), self.paper.higher
        blocks = [
            Block(_published_title(name), self.paper.rows(name, places), name in higher)
            for name in self.paper.values
            if name in apart
        ]
        return [block for block in blocks if any(_filled(row) for row in block.rows)]

    # -- notes

    def _timing_note(self, results: Sequence[RunResult]) -> list[str]:
        machines = dict.fromkeys(machine for run in results for machine in run.machines)
        if "seconds" not in self.costs or not machines:
            return []
        return [f"Seconds: an image's share of the wall time, on {'; '.join(machines)}."]

    def _not_compared(self, cells: Cells) -> list[str]:
        """Why differences are missing although there are runs."""
        metrics = self._metrics([run for group in cells.values() for run in group])
        unscored = [
            note
            for arm in self.arms
            for setting in self._grid.settings_of(arm)
            for note in self._unscored(arm, setting, metrics, cells)
        ]
        found = [
            difference
            for metric, arm in product(metrics, self._contenders)
            for difference in self._differences(arm, metric, cells)
        ]
        reasons = dict.fromkeys(why for why in found if isinstance(why, str) and why)
        return [*unscored, *(f"No paired difference: {reason}." for reason in reasons)]

    def _unscored(
        self, arm: Arm, setting: Mapping[str, Setting], metrics: Sequence[str], cells: Cells
    ) -> list[str]:
        if arm.keep:  # it leaves out metrics without a value per image, which its runs have
            return []
        remedy = command("evaluate", self._grid.overrides(arm, setting))
        runs = cells.get((arm.label, self._grid.place(arm, setting)), [])
        lacking = {run.id: [m for m in metrics if m not in run.scores] for run in runs}
        return [
            f"{self._grid.describe(arm, setting)}: run {run_id} lacks {', '.join(names)}. "
            f"Measure with `{remedy}`"
            for run_id, names in lacking.items()
            if names
        ]


def _published_title(name: str) -> str:
    """The title of the block of a metric or a cost."""
    costs = {str(cost): words for cost, words in _COSTS.items()}
    return (
        f"Published {costs[name]}, another experiment" if name in costs else published_title(name)
    )


def _filled(row: Row) -> bool:
    return any(cell.value is not None for cell in row.cells)
