"""Published numbers, shown beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import ConfigDict

from sde_edit.report.grid import Place
from sde_edit.report.results import RunResult
from sde_edit.report.selection import Setting, matches
from sde_edit.report.table import Cell, Row, split_into_rows, with_common_decimals

Published = dict[str, float] | dict[str, dict[str, float]]


@dataclass(frozen=True)
class Paper:
    """Published numbers.

    values: metric or cost -> label -> numbers by column, as {0.5: 7.57}; in a table with groups by
    group and column, as {small: {25: 5.84}}. A column without a number stays empty.
    higher: the metrics for which higher is better.
    where: settings of the published experiment, as `where` of a table. If all runs of the arms with
    these labels have them, the numbers are in the metric's own block; otherwise, and without
    `where`, in a separate block.
    """

    source: str
    setting: str
    values: dict[str, dict[str, Published]]
    higher: list[str] = field(default_factory=list)
    where: dict[str, Setting] | None = None
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    def comparable(self, results: Sequence[RunResult]) -> bool:
        """Whether the numbers are comparable with those of these runs."""
        if self.where is None:
            return False
        same = {key: [value] for key, value in self.where.items()}
        return all(matches(run.spec, same) for run in results)

    def rows(self, name: str, places: Sequence[Place]) -> tuple[Row, ...]:
        """The rows of a metric or cost."""
        found = self.values[name]
        lines = [[_number(values, place) for place in places] for values in found.values()]
        cells = with_common_decimals(Cell(value) for line in lines for value in line)
        labels = [f"Paper {label}" for label in found]
        return split_into_rows(labels, "paper", cells)

    def note(self) -> str:
        """The source, and how to compare the numbers with ours."""
        note = f"Published numbers: {self.source}; {self.setting}."
        if self.where is None:
            return note
        return (
            f"{note} They compare with runs of that model and data only; other runs compare with "
            "them in the sign of the difference alone."
        )


def _number(values: Mapping[str, Any], place: Place) -> float | None:
    line = values if place.group is None else values.get(str(place.group), {})
    found: float | None = line.get(str(place.column))
    return found
