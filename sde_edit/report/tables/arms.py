"""Compares samplers, settings or tasks: one row per arm, one column per setting or NFE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import ClassVar

from pydantic import ConfigDict

from sde_edit.errors import UserError
from sde_edit.registry import names, plugin, suggest
from sde_edit.report.candidates import MEAN
from sde_edit.report.cells import (
    Cost,
    Difference,
    common_convention,
    cost_cell,
    difference,
    family_note,
    mean_cell,
    metrics_of,
    over_family,
    settings_notes,
    undecided_note,
)
from sde_edit.report.grid import Arm, Cells, Grid, Place
from sde_edit.report.published import Paper, Published
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


Pair = tuple[str, str]  # labels of the arm that is compared and of the one that is subtracted
Compared = tuple[str, Pair, Place]  # metric, pair, place


@dataclass(frozen=True)
class Primary:
    """The comparisons that a table is made for; all others are secondary, a family of their own.

    metrics: their metrics, of which the runs may lack some. arms: the labels of the arms that are
    compared with the baseline; all if empty.
    """

    metrics: tuple[str, ...]
    arms: tuple[str, ...] = ()
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)


@plugin
@dataclass(frozen=True)
class Arms:
    """Settings of the table.

    title: the heading of the table.
    runs: the grid that arms share, override key -> values.
    arms: the rows; each has a label and the overrides that make its runs.
    column: the key whose values are the columns, or `nfe`, steps times the arm's evaluations per
    step, or `all_steps`; for an arm with `keep` both count the steps of all its candidates.
    group: a key whose values span neighbouring columns, as `data.masks` spans steps.
    average: a key, such as seed; runs that differ only in it share a cell. They are repetitions, or
    candidates for each image in an arm with `keep`.
    baseline: the label of the arm that is subtracted from the others, apart from arms that have
    another one to compare with (`against`) and arms that are that other one.
    primary: the differences that the table is made for; their verdicts are corrected for their own
    number only.
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
    primary: Primary | None = None
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
        disagree in a metric's convention, for a number that is not finite, or if the runs have
        none of the primary metrics.
        """
        self._check()
        check_where(self.where or {}, runs)
        cells = self._grid.cells(runs)
        results = [run for group in cells.values() for run in group]
        missing = self._grid.missing(cells, runs)
        if not results:
            raise UserError(f"no finished run for {self.name}. {missing[0]}")
        differences = self._differences(cells)
        judged = self._judged(differences)
        notes = (
            *self._verdict_notes(judged),
            *settings_notes(results),
            *self._timing_note(results),
            *missing,
            *(self._not_compared(cells, differences) if self.summary else ()),
            *([self.paper.note()] if self.paper else []),
            *self.remarks,
        )
        columns = tuple(map(self._grid.heading, self._grid.places()))
        blocks = self._blocks(cells, judged, {run.id: run for run in runs})
        return Table(self.name, self.title, self._grid.corner(), columns, blocks, notes)

    def _check_metrics(self) -> None:
        """Raises UserError for a name that no metric has: it would pass for one not measured."""
        kept = [arm.keep for arm in self.arms if arm.keep not in ("", MEAN)]
        known = names("metric")
        for name in (*(self.metrics or ()), *(self.primary.metrics if self.primary else ()), *kept):
            if name not in known:
                raise UserError(f"{self.name}: no metric {name!r}.{suggest(name, known)}")

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
        if twice := [label for label, times in Counter(labels).items() if times > 1]:
            raise UserError(f"{self.name}: two arms are labelled {twice[0]!r}; give each its own")
        primary = self.primary.arms if self.primary else ()
        referred = (label for arm in self.arms for label in (arm.same_as, *arm.rivals))
        for label in (self.baseline, *primary, *referred):
            if label and label not in labels:
                raise UserError(f"{self.name}: no arm is labelled {label!r}. Known: {labels}")
        rivals = {arm.label: arm.rivals for arm in self.arms}
        for arm in self.arms:
            if arm.label in (arm.same_as, *arm.rivals):
                raise UserError(f"{self.name}: arm {arm.label!r} is compared with itself")
            for rival in arm.rivals:
                if arm.label in rivals[rival]:
                    pair = f"{arm.label!r} and {rival!r}"
                    raise UserError(
                        f"{self.name}: {pair} are each `against` the other: give it once"
                    )
        self._check_metrics()
        contenders = list(dict.fromkeys(label for label, _ in self._pairs))
        if self.primary and (not contenders or {*primary} - {*contenders}):
            raise UserError(
                f"{self.name}: primary names differences; baseline is {self.baseline}, the arms "
                f"that are compared with another are {contenders}. Name these, or another baseline"
            )
        self._grid.check()

    # -- blocks

    def _blocks(
        self, cells: Cells, judged: Mapping[Compared, Cell], runs: Mapping[str, Run]
    ) -> tuple[Block, ...]:
        results = [run for group in cells.values() for run in group]
        metrics = self._metrics(results)
        comparable = self.paper is not None and self.paper.comparable(self._beside_paper(cells))
        beside = self._published & set(metrics) if comparable else set()
        blocks = [self._metric_block(m, cells, judged, published=m in beside) for m in metrics]
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
        every = product(self.arms, self._grid.places())
        cells = with_common_decimals(cell_of(arm, place) for arm, place in every)
        rows = split_into_rows([arm.label for arm in self.arms], "arm", cells)
        both = zip(rows, self.arms, strict=True)
        return tuple(replace(row, stands_for=arm.stands_for) for row, arm in both)

    def _metric_block(
        self, metric: str, cells: Cells, judged: Mapping[Compared, Cell], *, published: bool
    ) -> Block:
        scored = [run for group in cells.values() for run in group if metric in run.scores]
        if not scored:
            return Block(metric, self._rows(lambda arm, place: Cell()))
        convention, higher = common_convention(metric, scored)

        def cell(arm: Arm, place: Place) -> Cell:
            return mean_cell(cells.get((arm.label, place), []), metric)

        differences = [self._difference_row(pair, metric, judged) for pair in self._pairs]
        rows: tuple[Row, ...] = (*self._rows(cell), *differences)
        if self.paper and published:
            rows += self.paper.rows(metric, self._grid.places())
        summary = " ".join(filter(None, map(self._summary, self._pairs, differences)))
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
    def _pairs(self) -> list[Pair]:
        """The arms that are compared, arm by arm."""
        return [(arm.label, rival) for arm in self.arms for rival in self._rivals(arm)]

    def _rivals(self, arm: Arm) -> Sequence[str]:
        """The labels of the arms that are subtracted from this one."""
        compared_with = {self.baseline, *(rival for other in self.arms for rival in other.rivals)}
        by_default = [self.baseline] if self.baseline and arm.label not in compared_with else []
        return arm.rivals or by_default

    def _differences(self, cells: Cells) -> dict[Compared, Difference | str]:
        """Each difference from the baseline, or why there is none; no entry without two scores."""
        metrics = self._metrics([run for group in cells.values() for run in group])
        found: dict[Compared, Difference | str] = {}

        def scored(label: str, place: Place, metric: str) -> list[RunResult]:
            return [r for r in cells.get((label, place), []) if metric in r.scores]

        for metric, pair, place in product(metrics, self._pairs, self._grid.places()):
            ours, theirs = (scored(label, place, metric) for label in pair)
            if ours and theirs:
                found[metric, pair, place] = difference(ours, theirs, metric)
        return found

    def _is_primary(self, compared: Compared) -> bool:
        metric, (label, _), _ = compared
        chosen = self.primary
        return bool(chosen and metric in chosen.metrics and label in (chosen.arms or [label]))

    def _judged(self, differences: Mapping[Compared, Difference | str]) -> dict[Compared, Cell]:
        """The differences with verdicts: the primary ones are a family, and so are the others."""
        judged: dict[Compared, Cell] = {}
        paired = {key: one for key, one in differences.items() if isinstance(one, Difference)}
        for primary in (True, False):
            family = [key for key in paired if self._is_primary(key) is primary]
            cells = over_family([paired[key] for key in family], primary=primary)
            judged |= zip(family, cells, strict=True)
        return judged

    def _difference_row(self, pair: Pair, metric: str, judged: Mapping[Compared, Cell]) -> Row:
        arm, rival = map(self._short, pair)
        places = self._grid.places()
        shown = with_common_decimals(judged.get((metric, pair, p), Cell()) for p in places)
        return Row(f"{arm} {MINUS} {rival}", "difference", shown)

    def _short(self, label: str) -> str:
        (name,) = (arm.name for arm in self.arms if arm.label == label)
        return name

    def _summary(self, pair: Pair, difference: Row) -> str:
        if not self.summary:
            return ""
        arm, rival = map(self._short, pair)
        verdicts = [cell.verdict for cell in difference.cells if cell.verdict]
        own = [cell.pointwise for cell in difference.cells]
        better, worse = verdicts.count("better"), verdicts.count("worse")
        lacking = len(difference.cells) - len(verdicts)
        return (
            f"{arm} better than {rival} in {better} of {len(verdicts)} cells, worse in {worse}, "
            f"undecided in {len(verdicts) - better - worse} over the family "
            f"(by their own intervals better in {own.count('better')}, "
            f"worse in {own.count('worse')})" + (f"; {lacking} not compared." if lacking else ".")
        )

    def _verdict_notes(self, judged: Mapping[Compared, Cell]) -> list[str]:
        """How many differences each family decides, and how large undecided ones must be."""
        names = {True: "Primary endpoints", False: "Secondary" if self.primary else "All together"}
        notes = []
        for primary, name in names.items():
            family = {key: cell for key, cell in judged.items() if cell.primary is primary}
            if family:
                metrics = ", ".join(dict.fromkeys(metric for metric, *_ in family))
                notes.append(family_note(f"{name} ({metrics})", [*family.values()]))
        if self.primary and judged and not any(cell.primary for cell in judged.values()):
            wanted = ", ".join(self.primary.metrics)
            notes.append(f"None of the primary endpoints ({wanted}) was measured.")
        of_metric: dict[str, list[Cell]] = {}
        for (metric, *_), cell in judged.items():
            of_metric.setdefault(metric, []).append(cell)
        return [*notes, *undecided_note(of_metric)]

    # -- published numbers

    def _beside_paper(self, cells: Cells) -> list[RunResult]:
        """The runs of the arms that have published numbers; all runs if no arm has."""
        published = {label for line in self._paper_values.values() for label in line}
        every = {arm.label for arm in self.arms}
        labels = every & published or every
        return [run for (label, _), group in cells.items() if label in labels for run in group]

    @property
    def _published(self) -> set[str]:
        """The metrics and costs with published numbers."""
        return set(self._paper_values)

    @property
    def _paper_values(self) -> Mapping[str, Mapping[str, Published]]:
        return self.paper.values if self.paper else {}

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

    def _not_compared(
        self, cells: Cells, differences: Mapping[Compared, Difference | str]
    ) -> list[str]:
        """Why differences are missing although there are runs."""
        metrics = self._metrics([run for group in cells.values() for run in group])
        unscored = [
            note
            for arm in self.arms
            for setting in self._grid.settings_of(arm)
            for note in self._unscored(arm, setting, metrics, cells)
        ]
        reasons = dict.fromkeys(why for why in differences.values() if isinstance(why, str))
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
