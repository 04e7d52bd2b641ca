"""The grid of a table: which runs belong to which arm and column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar, NamedTuple

from pydantic import ConfigDict

from sde_edit.api.spec import RunSpec
from sde_edit.errors import UserError
from sde_edit.report.candidates import as_candidates
from sde_edit.report.results import RunResult, load_undamaged
from sde_edit.report.selection import (
    Setting,
    check_uniform,
    command,
    flatten,
    matches,
    specifies,
    unstated,
)
from sde_edit.report.table import Column
from sde_edit.store.runs import Run

_NFE, _ALL_STEPS = "nfe", "all_steps"  # columns that are no key
_NAMES = {_NFE: "NFE", _ALL_STEPS: "steps in all"}


class Place(NamedTuple):
    """A column of the table; group is None in a table without groups."""

    group: Setting
    column: Setting


Cells = dict[tuple[str, Place], list[RunResult]]  # (label of the arm, place) -> runs


@dataclass(frozen=True)
class Arm:
    """A line of the table.

    set: override keys -> value or values, in place of those of `runs`.
    short: the name in differences and summaries; by default the label.
    against: the label of the arm that is subtracted from it, or the labels of several; by default
    the table's baseline.
    evaluations: of eps per step, if the columns are NFE; `sde-edit table` asks the sampler for it.
    same_as: the label of an arm; the table counts the images that equal its images bit for bit.
    keep: what is kept of the runs that share a cell, as candidates for one image: `mean`, or the
    metric by which the best of each image is chosen. Each image then costs all of them, also in the
    NFE. By default such runs are repetitions of one edit.
    stands_for: the labels of arms with the same runs, which `sde-edit table` leaves out and names
    here.
    """

    label: str
    set: dict[str, Setting | list[Setting]]
    short: str = ""
    evaluations: int = 1
    same_as: str = ""
    against: str | list[str] = ""
    keep: str = ""
    stands_for: tuple[str, ...] = ()
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    @property
    def name(self) -> str:
        """The short name, or else the label."""
        return self.short or self.label

    @property
    def rivals(self) -> tuple[str, ...]:
        """The labels of `against`."""
        given = [self.against] if isinstance(self.against, str) else self.against
        return tuple(filter(None, given))


@dataclass(frozen=True)
class Grid:
    """The cells of a table of arms; for the fields see `Arms`."""

    name: str
    runs: Mapping[str, list[Setting]]
    arms: Sequence[Arm]
    column: str
    group: str | None
    average: str | None
    also: Mapping[str, Setting | list[Setting]]
    where: Mapping[str, Setting]

    def check(self) -> None:
        """Raises UserError for a missing key, and for several values where one is needed."""
        for arm in self.arms:
            values = self.values_of(arm)
            for key in self._keys:
                if key not in values:
                    known = list(self.runs)
                    raise UserError(f"{self.name}: runs must give {key!r}; it has {known}")
            several = {key for key, listed in values.items() if len(listed) > 1}
            if wrong := sorted(several - {self.average, *self._keys}):
                raise UserError(
                    f"{self.name}: arm {arm.label!r} has several values of {', '.join(wrong)}; "
                    "only the keys that go across and the one that is averaged may"
                )
            if arm.keep and len(values.get(self.average or "", [])) < 2:
                raise UserError(
                    f"{self.name}: arm {arm.label!r} keeps {arm.keep} of candidates: give "
                    "`average` and several values of its key, as seed: [0, 1, 2]"
                )

    @property
    def _key(self) -> str:
        """The key of the spec that decides the column."""
        return "steps" if self.column in _NAMES else self.column

    @property
    def _keys(self) -> list[str]:
        """The keys of the spec that decide the place."""
        return [key for key in (self.group, self._key) if key]

    def values_of(self, arm: Arm) -> dict[str, list[Setting]]:
        """Override key -> values that the runs of an arm may have."""
        own = {key: v if isinstance(v, list) else [v] for key, v in arm.set.items()}
        chosen = {key: [value] for key, value in self.where.items()}
        return {**self.runs, **own, **chosen}

    def settings_of(self, arm: Arm) -> list[dict[str, Setting]]:
        """Key -> value of each place of an arm."""
        grid = self.values_of(arm)
        return _combinations({key: grid[key] for key in self._keys})

    def place(self, arm: Arm, setting: Mapping[str, Any]) -> Place:
        """The column of a setting."""
        value = setting[self._key]
        if self.column in _NAMES:
            value = int(value) * self._edits(arm)
        if self.column == _NFE:
            value *= arm.evaluations
        return Place(setting[self.group] if self.group else None, value)

    def _edits(self, arm: Arm) -> int:
        """The number of edits that an image of the arm costs."""
        return len(self.values_of(arm)[self.average]) if arm.keep and self.average else 1

    def _places_of(self, arm: Arm, spec: RunSpec) -> list[Place]:
        """The place of a run; several for external images, which any value of a key fits."""
        flat, grid = flatten(spec), self.values_of(arm)
        values = {k: [flat[k]] if specifies(spec, k) else grid[k] for k in self._keys}
        return [self.place(arm, setting) for setting in _combinations(values)]

    def places(self) -> list[Place]:
        """All columns of the table, in order."""
        found = [self.place(arm, setting) for arm in self.arms for setting in self.settings_of(arm)]
        groups = dict.fromkeys(place.group for place in found)
        columns: set[Any] = {place.column for place in found}
        order = self.runs.get(self.column, [])
        ordered = sorted(columns, key=order.index if set(order) >= columns else None)
        return [Place(*pair) for pair in product(groups, ordered)]

    def cells(self, runs: Sequence[Run]) -> Cells:
        """The runs of each cell, arm by arm and group by group."""
        cells: Cells = {}
        depends = self._depends()
        groups = list(dict.fromkeys(place.group for place in self.places()))
        for arm in self.arms:
            fitting = [run for run in runs if matches(run.spec, self.values_of(arm))]
            results = [run for run in map(load_undamaged, fitting) if run is not None]
            check_uniform(results, depends)
            own: Cells = {}
            for result in results:
                for place in self._places_of(arm, result.spec):
                    own.setdefault((arm.label, place), []).append(result)
            if arm.keep:
                own = {
                    key: as_candidates(group, arm.keep)
                    for key, group in own.items()
                    if len(group) == self._edits(arm)
                }
            cells |= dict(sorted(own.items(), key=lambda item: groups.index(item[0][1].group)))
        varying = {key.partition(".")[0] for arm in self.arms for key in arm.set}
        check_uniform([run for group in cells.values() for run in group], depends, varying=varying)
        return cells

    def _depends(self) -> dict[str, list[str]]:
        """Part of the spec -> its keys in which the runs of an arm may differ."""
        depends: dict[str, list[str]] = {}
        for key in (self.average, *self._keys):
            if key:
                depends.setdefault(key.partition(".")[0], []).append(key)
        return depends

    # -- texts

    def corner(self) -> str:
        """What the column labels count."""
        across = _NAMES.get(self.column) or _last_part(self.column)
        return f"{_last_part(self.group)}, {across}" if self.group else across

    def heading(self, place: Place) -> Column:
        """The heading of a column."""
        words = [str(place.group), _last_part(self.group)] if self.group else []
        if not isinstance(place.group, str):
            words.reverse()  # "small masks", but "things 4"
        return Column(" ".join(words), "null" if place.column is None else str(place.column))

    def describe(self, arm: Arm, setting: Mapping[str, Setting]) -> str:
        """A text that names a cell."""
        if self.group is None:
            return f"{arm.label}, {self.column} {setting[self._key]}"
        return ", ".join([arm.label, *(f"{v} {_last_part(k)}" for k, v in setting.items())])

    # -- missing runs

    def overrides(
        self, arm: Arm, setting: Mapping[str, Setting]
    ) -> dict[str, Setting | Sequence[Setting]]:
        """The overrides of a cell's run."""
        first = {key: values[0] for key, values in self.values_of(arm).items()}
        return {**first, **setting, **self.also}

    def missing(self, cells: Cells, runs: Sequence[Run]) -> list[str]:
        """A note with the remedy for each cell without a sealed run."""
        return [
            f"{self.describe(arm, setting)}: {self._state(arm, setting, runs)}. Make it with "
            f"`{command('run', self.overrides(arm, setting))}`{self._and_others(arm)}"
            for arm in self.arms
            for setting in self.settings_of(arm)
            if (arm.label, self.place(arm, setting)) not in cells
        ]

    def _and_others(self, arm: Arm) -> str:
        """What to say of the other candidates of an arm."""
        others = self.values_of(arm)[self.average][1:] if arm.keep and self.average else []
        return f" and likewise with {self.average}={','.join(map(str, others))}" if others else ""

    def _state(self, arm: Arm, setting: Mapping[str, Setting], runs: Sequence[Run]) -> str:
        """The state of a cell without a sealed run."""
        place = self.values_of(arm) | {key: [value] for key, value in setting.items()}
        if any(matches(run.spec, place) for run in runs):
            return "begun, not finished"
        older = ((run.id, unstated(run.spec, place)) for run in runs)
        for run_id, keys in older:
            if keys:
                return f"no run, unless it is {run_id}, which does not state {', '.join(keys)}"
        return "no run"


def _combinations(values: Mapping[str, Sequence[Setting]]) -> list[dict[str, Setting]]:
    """Every choice of one value for each key."""
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


def _last_part(key: str) -> str:
    """The part after the last dot, such as "masks" in "data.masks"."""
    return key.rpartition(".")[2]
