"""Two runs side by side, example by example: what `sde-edit compare` prints, as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from PIL import Image

from sde_edit.commands import compare as command
from sde_edit.python.frames import frame
from sde_edit.python.runs import Folder, Run, stored_run
from sde_edit.report.results import RunResult
from sde_edit.report.table import Cell

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Difference:
    """One metric of two runs on the examples that both have.

    a, b: the values. difference: A - B, with its own 95 % interval from `low` to `high`, paired by
    example; None if it cannot be paired, and `note` says why. verdict: "A better", "B better",
    "undecided", or "" without a pairing; it holds over all metrics together. p, adjusted, effect,
    superiority, detectable: as in `sde_edit.report.table.Cell`. a_better, equal: the number of the
    n examples where A is better, and where A and B agree up to rounding; None for a metric without
    values per example.
    """

    metric: str
    higher_is_better: bool
    n: int
    a: float
    b: float
    difference: float | None
    low: float | None
    high: float | None
    verdict: str
    a_better: int | None
    equal: int | None
    p: float | None
    adjusted: float | None
    effect: float | None
    superiority: float | None
    detectable: float | None
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two finished runs, A and B, of one data set. `print` shows it as Markdown."""

    pair: command.Pair

    @cached_property
    def differences(self) -> Mapping[str, Difference]:
        """Metric -> how the runs differ in it, for the metrics that both have.

        Raises UserError for a metric that was measured in two ways.
        """
        found = command.compared(self.pair)
        return {metric: _difference(self.pair, metric, *one) for metric, one in found.items()}

    def per_example(self, metric: str) -> DataFrame:
        """A row per shared example, by id: `a`, `b`, and `gain`, the advantage of A.

        Raises UserError for a metric without values per example, and without pandas.
        """
        chosen = command.chosen_metric(self.pair, metric, ())
        (a, b), gains = self.pair.values(chosen), self.pair.gains(chosen)
        return frame([{"id": i, "a": a[i], "b": b[i], "gain": gains[i]} for i in gains], index="id")

    def to_pandas(self) -> DataFrame:
        """A row per metric, with the fields of `Difference`. Raises UserError without pandas."""
        return frame([asdict(one) for one in self.differences.values()], index="metric")

    def contact_sheet(self, metric: str | None = None, examples: int = 6) -> Image.Image | None:
        """The examples that differ most in a metric; None if no example differs.

        metric: None for the first with values per example. Raises UserError if the data set is not
        on this machine.
        """
        return command.drawn(self.pair, (), metric=metric, examples=examples)

    def __str__(self) -> str:
        return command.describe(self.pair)

    def _repr_markdown_(self) -> str:
        return str(self)


def _difference(
    pair: command.Pair, metric: str, runs: Sequence[RunResult], found: Cell | str
) -> Difference:
    a, b = (run.scores[metric] for run in runs)
    gains = [*pair.gains(metric).values()] if metric in pair.per_example else None
    cell, note = (Cell(), found) if isinstance(found, str) else (found, "")
    return Difference(
        metric=metric,
        higher_is_better=a.higher_is_better,
        n=a.n,
        a=a.value,
        b=b.value,
        difference=cell.value,
        low=cell.low,
        high=cell.high,
        verdict=command.VERDICTS.get(cell.verdict, ""),
        a_better=None if gains is None else sum(gain > 0 for gain in gains),
        equal=None if gains is None else sum(gain == 0 for gain in gains),
        p=cell.p,
        adjusted=cell.adjusted,
        effect=cell.effect,
        superiority=cell.superiority,
        detectable=cell.detectable,
        note=note,
    )


def compare(a: Run | Folder, b: Run | Folder, *, results: Folder | None = None) -> Comparison:
    """Compare two finished runs on the examples that both have.

    a, b: runs, or names as `load` takes them. Differences are A - B, paired by example. Raises
    UserError for runs that are not finished, are of different data, or share no example.
    """
    return Comparison(command.pair_of(stored_run(a, results), stored_run(b, results)))
