"""Any samplers, settings or tasks against each other: an arm a line, one setting or NFE across."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, ClassVar, NamedTuple

from pydantic import ConfigDict

from sde_edit.api.spec import RunSpec
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
from sde_edit.report.results import RunResult, load_result
from sde_edit.report.selection import (
    Setting,
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
_MINUS = "\N{MINUS SIGN}"
_COSTS: dict[Cost, str] = {
    "evaluations": "network evaluations per image",
    "calls": "network calls, one after the other",
    "seconds": "seconds per image",
}


class _Place(NamedTuple):
    """A column of the table; group is None in a table without groups."""

    group: Setting
    column: Setting


_Cells = dict[tuple[str, _Place], list[RunResult]]  # (label of the arm, place) -> runs


@dataclass(frozen=True)
class Arm:
    """A line of the table.

    set: override keys -> value or values, in place of those of `runs`.
    short: the name in differences and summaries; by default the label.
    evaluations: of eps per step, where NFE goes across; `sde-edit table` takes it from the sampler.
    same_as: the label of an arm; the table counts the images that equal its images in every bit.
    """

    label: str
    set: dict[str, Setting | list[Setting]]
    short: str = ""
    evaluations: int = 1
    same_as: str = ""
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    @property
    def name(self) -> str:
        return self.short or self.label


Published = list[float | None] | dict[str, float] | dict[str, dict[str, float]]


@dataclass(frozen=True)
class Paper:
    """Published numbers.

    values: metric or cost -> label -> numbers. These are a list along the columns, with null where
    there is none, or a mapping by column, as {0.5: 7.57}, if the table may have other columns. In a
    table with groups they are a mapping by group and column, as {small: {25: 5.84}}.
    higher: the metrics of which higher is better.
    where: settings of the published experiment, as `where` of a table. If all runs have them, the
    numbers stand in the metric's own block; otherwise, and without `where`, in a block apart.
    """

    source: str
    setting: str
    values: dict[str, dict[str, Published]]
    higher: list[str] = field(default_factory=list)
    where: dict[str, Setting] | None = None
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)


@plugin
@dataclass(frozen=True)
class Arms:
    """runs: the grid that arms share, override key -> values.
    column: the key whose values go across, or `nfe`: steps times the arm's evaluations per step.
    group: a key whose values span neighbouring columns, as `data.masks` spans steps.
    average: a key; runs that differ in it alone share a cell, as three seeds do.
    baseline: the label of the arm that is subtracted from the others.
    summary: whether to count the verdicts of differences and to note why some are missing.
    metrics: null for all that the runs have, [] for none. costs: further blocks of costs per image.
    also: overrides that do not tell the runs apart but were given for them, as {data.limit: 64}.
    where: further keys that choose among runs, as {model: shapes, seed: 0}.
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
        cells = self._cells(runs)
        results = [run for group in cells.values() for run in group]
        missing = self._missing(cells, runs)
        if not results:
            raise UserError(f"no finished run for {self.name}. {missing[0]}")
        notes = (
            *settings_notes(results),
            *self._timing_note(results),
            *missing,
            *(self._not_compared(cells) if self.summary else ()),
            *self._published_note(),
            *self.remarks,
        )
        columns = tuple(map(self._heading, self._places()))
        blocks = self._blocks(cells, {run.id: run for run in runs})
        return Table(self.name, self.title, self._corner(), columns, blocks, notes)

    # -- the grid

    def _check(self) -> None:
        labels = [arm.label for arm in self.arms]
        for label in [self.baseline, *(arm.same_as for arm in self.arms)]:
            if label and label not in labels:
                raise UserError(f"{self.name}: no arm is labelled {label!r}. Known: {labels}")
        for arm in self.arms:
            self._check_grid(arm.label, self._grid(arm))

    def _check_grid(self, label: str, grid: Mapping[str, Sequence[Setting]]) -> None:
        for key in self._keys:
            if key not in grid:
                raise UserError(f"{self.name}: runs must give {key!r}; it has {list(self.runs)}")
        several = {key for key, values in grid.items() if len(values) > 1}
        if wrong := sorted(several - {self.average, *self._keys}):
            raise UserError(
                f"{self.name}: arm {label!r} has several values of {', '.join(wrong)}; "
                "only the keys that go across and the one that is averaged may"
            )

    @property
    def _key(self) -> str:
        """The key of the spec that decides the column."""
        return "steps" if self.column == _NFE else self.column

    @property
    def _keys(self) -> list[str]:
        """The keys of the spec that decide the place."""
        return [key for key in (self.group, self._key) if key]

    def _grid(self, arm: Arm) -> dict[str, list[Setting]]:
        own = {key: v if isinstance(v, list) else [v] for key, v in arm.set.items()}
        chosen = {key: [value] for key, value in (self.where or {}).items()}
        return {**self.runs, **own, **chosen}

    def _settings(self, arm: Arm) -> list[dict[str, Setting]]:
        """Key -> value of each place of an arm."""
        grid = self._grid(arm)
        return _combinations({key: grid[key] for key in self._keys})

    def _place(self, arm: Arm, setting: Mapping[str, Any]) -> _Place:
        value = setting[self._key]
        column = int(value) * arm.evaluations if self.column == _NFE else value
        return _Place(setting[self.group] if self.group else None, column)

    def _places_of(self, arm: Arm, spec: RunSpec) -> list[_Place]:
        """The run's place; several for images made elsewhere, which are the same at every value of
        a key that had no part in them."""
        flat, grid = flatten(spec), self._grid(arm)
        values = {k: [flat[k]] if specifies(spec, k) else grid[k] for k in self._keys}
        return [self._place(arm, setting) for setting in _combinations(values)]

    def _places(self) -> list[_Place]:
        """All columns of the table, in order."""
        found = [self._place(arm, setting) for arm in self.arms for setting in self._settings(arm)]
        groups = dict.fromkeys(place.group for place in found)
        columns: set[Any] = {place.column for place in found}
        order = self.runs.get(self.column, [])
        ordered = sorted(columns, key=order.index if set(order) >= columns else None)
        return [_Place(*pair) for pair in product(groups, ordered)]

    def _cells(self, runs: Sequence[Run]) -> _Cells:
        """The runs of each cell, arm by arm and group by group."""
        cells: _Cells = {}
        depends: dict[str, list[str]] = {}
        for key in (self.average, *self._keys):
            if key:
                depends.setdefault(key.partition(".")[0], []).append(key)
        groups = list(dict.fromkeys(place.group for place in self._places()))
        for arm in self.arms:
            fitting = [run for run in runs if matches(run.spec, self._grid(arm))]
            results = [run for run in map(load_result, fitting) if run is not None]
            check_uniform(results, depends)
            own: _Cells = {}
            for result in results:
                for place in self._places_of(arm, result.spec):
                    own.setdefault((arm.label, place), []).append(result)
            cells |= dict(sorted(own.items(), key=lambda item: groups.index(item[0][1].group)))
        varying = {key.partition(".")[0] for arm in self.arms for key in arm.set}
        check_uniform([run for group in cells.values() for run in group], depends, varying=varying)
        return cells

    # -- headings

    def _corner(self) -> str:
        across = "NFE" if self.column == _NFE else _last_part(self.column)
        return f"{_last_part(self.group)}, {across}" if self.group else across

    def _heading(self, place: _Place) -> Column:
        group = f"{place.group} {_last_part(self.group)}" if self.group else ""
        return Column(group, str(format_override(place.column)))

    def _describe(self, arm: Arm, setting: Mapping[str, Setting]) -> str:
        """A cell, in words."""
        if self.group is None:
            return f"{arm.label}, {self.column} {setting[self._key]}"
        return ", ".join([arm.label, *(f"{v} {_last_part(k)}" for k, v in setting.items())])

    # -- blocks

    def _blocks(self, cells: _Cells, runs: Mapping[str, Run]) -> tuple[Block, ...]:
        results = [run for group in cells.values() for run in group]
        metrics = self._metrics(results)
        beside = self._published_beside(metrics, results)
        blocks = [self._metric_block(m, cells, published=m in beside) for m in metrics]
        if any(arm.same_as for arm in self.arms):
            blocks.append(self._identity_block(cells, runs))
        blocks += [self._cost_block(cost, cells) for cost in self.costs]
        if not blocks:
            remedy = command("evaluate", self._overrides(self.arms[0], {}))
            raise UserError(f"{self.name}: its runs have no scores. Make them with `{remedy}`")
        return (*blocks, *self._paper_blocks(but=beside))

    def _metrics(self, results: Sequence[RunResult]) -> list[str]:
        return metrics_of(results) if self.metrics is None else self.metrics

    def _rows(self, cell_of: Callable[[Arm, _Place], Cell]) -> tuple[Row, ...]:
        places = self._places()
        cells = with_common_decimals(
            cell_of(arm, place) for arm, place in product(self.arms, places)
        )
        lines = _cut(cells, len(places))
        return tuple(Row(a.label, "arm", line) for a, line in zip(self.arms, lines, strict=True))

    def _metric_block(self, metric: str, cells: _Cells, *, published: bool) -> Block:
        scored = [run for group in cells.values() for run in group if metric in run.scores]
        if not scored:
            return Block(metric, self._rows(lambda arm, place: Cell()))
        convention, higher = common_convention(metric, scored)

        def cell(arm: Arm, place: _Place) -> Cell:
            return mean_cell(cells.get((arm.label, place), []), metric)

        differences = [self._difference_row(arm, metric, cells) for arm in self._contenders]
        rows = (*self._rows(cell), *differences)
        if self.paper and published:
            rows += self._paper_rows(self.paper.values[metric])
        summary = " ".join(filter(None, map(self._summary, self._contenders, differences)))
        return Block(metric, rows, higher, summary, convention)

    def _identity_block(self, cells: _Cells, runs: Mapping[str, Run]) -> Block:
        def cell(arm: Arm, place: _Place) -> Cell:
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

    def _cost_block(self, cost: Cost, cells: _Cells) -> Block:
        def cell(arm: Arm, place: _Place) -> Cell:
            return cost_cell(cells.get((arm.label, place), []), cost)

        return Block(_COSTS[cost], self._rows(cell), False)

    # -- differences from the baseline

    @property
    def _contenders(self) -> list[Arm]:
        return [arm for arm in self.arms if self.baseline and arm.label != self.baseline]

    def _differences(self, arm: Arm, metric: str, cells: _Cells) -> list[Cell | str]:
        """For each place the difference, or why there is none; "" where a score is missing."""

        def scored(label: str | None, place: _Place) -> list[RunResult]:
            return [r for r in cells.get((str(label), place), []) if metric in r.scores]

        pairs = [(scored(arm.label, p), scored(self.baseline, p)) for p in self._places()]
        return [difference_cell(*pair, metric) if all(pair) else "" for pair in pairs]

    def _difference_row(self, arm: Arm, metric: str, cells: _Cells) -> Row:
        (base,) = (other.name for other in self.arms if other.label == self.baseline)
        found = self._differences(arm, metric, cells)
        shown = with_common_decimals(c if isinstance(c, Cell) else Cell() for c in found)
        return Row(f"{arm.name} {_MINUS} {base}", "difference", shown)

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

    # -- the paper's numbers

    def _published_beside(
        self, metrics: Sequence[str], results: Sequence[RunResult]
    ) -> Collection[str]:
        """The metrics whose published numbers stand beside ours."""
        if not self.paper or self.paper.where is None:
            return ()
        same = {key: [value] for key, value in self.paper.where.items()}
        comparable = all(matches(run.spec, same) for run in results)
        return [name for name in self.paper.values if comparable and name in metrics]

    def _paper_blocks(self, *, but: Collection[str]) -> list[Block]:
        if not self.paper:
            return []
        blocks = [
            Block(_published_title(name), self._paper_rows(values), name in self.paper.higher)
            for name, values in self.paper.values.items()
            if name not in but
        ]
        return [block for block in blocks if any(_filled(row) for row in block.rows)]

    def _paper_rows(self, values: Mapping[str, Published]) -> tuple[Row, ...]:
        lines = [self._paper_line(label, line) for label, line in values.items()]
        cells = with_common_decimals(Cell(value) for line in lines for value in line)
        shown = _cut(cells, len(self._places()))
        return tuple(
            Row(f"Paper {label}", "paper", line) for label, line in zip(values, shown, strict=True)
        )

    def _paper_line(self, label: str, line: Published) -> list[float | None]:
        places = self._places()
        if isinstance(line, dict):
            return [_published_number(line, place) for place in places]
        if len(line) != len(places):
            raise UserError(f"{self.name}: paper.values of {label!r}: {len(places)} are needed")
        return line

    # -- notes

    def _timing_note(self, results: Sequence[RunResult]) -> list[str]:
        machines = dict.fromkeys(machine for run in results for machine in run.machines)
        if "seconds" not in self.costs or not machines:
            return []
        return [f"Seconds: an image's share of the wall time, on {'; '.join(machines)}."]

    def _published_note(self) -> list[str]:
        if not self.paper:
            return []
        note = f"Published numbers: {self.paper.source}; {self.paper.setting}."
        if self.paper.where is None:
            return [note]
        return [
            f"{note} They compare with runs of that model and data only; other runs compare with "
            "them in the sign of the difference alone."
        ]

    def _overrides(self, arm: Arm, setting: Mapping[str, Setting]) -> dict[str, Setting]:
        """The overrides of a cell's run."""
        first = {key: values[0] for key, values in self._grid(arm).items()}
        also = {key: format_override(value) for key, value in self.also.items()}
        return {**first, **setting, **also}

    def _missing(self, cells: _Cells, runs: Sequence[Run]) -> list[str]:
        return [
            f"{self._describe(arm, setting)}: {self._state(arm, setting, runs)}. Make it with "
            f"`{command('run', self._overrides(arm, setting))}`"
            for arm in self.arms
            for setting in self._settings(arm)
            if (arm.label, self._place(arm, setting)) not in cells
        ]

    def _state(self, arm: Arm, setting: Mapping[str, Setting], runs: Sequence[Run]) -> str:
        """Of a cell without a sealed run."""
        place = self._grid(arm) | {key: [value] for key, value in setting.items()}
        begun = any(matches(run.spec, place) for run in runs)
        return "begun, not finished" if begun else "no run"

    def _not_compared(self, cells: _Cells) -> list[str]:
        """Why differences are missing although there are runs."""
        metrics = self._metrics([run for group in cells.values() for run in group])
        unscored = [
            note
            for arm in self.arms
            for setting in self._settings(arm)
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
        self, arm: Arm, setting: Mapping[str, Setting], metrics: Sequence[str], cells: _Cells
    ) -> list[str]:
        remedy = command("evaluate", self._overrides(arm, setting))
        runs = cells.get((arm.label, self._place(arm, setting)), [])
        lacking = {run.id: [m for m in metrics if m not in run.scores] for run in runs}
        return [
            f"{self._describe(arm, setting)}: run {run_id} lacks {', '.join(names)}. "
            f"Measure with `{remedy}`"
            for run_id, names in lacking.items()
            if names
        ]


def _combinations(values: Mapping[str, Sequence[Setting]]) -> list[dict[str, Setting]]:
    """Every choice of one value for each key."""
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


def _cut(cells: Sequence[Cell], size: int) -> list[tuple[Cell, ...]]:
    """Lines of `size` cells each."""
    return [tuple(cells[i : i + size]) for i in range(0, len(cells), size)]


def _last_part(key: str) -> str:
    """Such as "masks" of "data.masks"."""
    return key.rpartition(".")[2]


def _published_number(values: Mapping[str, Any], place: _Place) -> float | None:
    line = values if place.group is None else values.get(str(place.group), {})
    found: float | None = line.get(str(place.column))
    return found


def _published_title(name: str) -> str:
    """The title of the block of a metric or a cost."""
    costs = {str(cost): words for cost, words in _COSTS.items()}
    return (
        f"Published {costs[name]}, another experiment" if name in costs else published_title(name)
    )


def _filled(row: Row) -> bool:
    return any(cell.value is not None for cell in row.cells)
