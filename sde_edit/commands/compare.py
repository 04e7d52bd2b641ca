"""Compares two finished runs example by example: a table and a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL.Image import Image

from sde_edit.api.dataset import Dataset
from sde_edit.api.spec import RunSpec
from sde_edit.commands.find import find_run
from sde_edit.commands.pairing import on_common_examples
from sde_edit.config import compose_config, data_set, results_dir
from sde_edit.errors import UserError
from sde_edit.overrides import keyed
from sde_edit.registry import build, suggest
from sde_edit.report.cells import (
    Difference,
    common_convention,
    difference,
    is_rounding,
    over_family,
    ranked,
    rule_note,
    score_cell,
    settings_notes,
    undecided_note,
    verdict_text,
)
from sde_edit.report.contact_sheet import examples_sheet, save_sheet
from sde_edit.report.formats import markdown
from sde_edit.report.results import RunResult, load_finished
from sde_edit.report.selection import diff_specs
from sde_edit.report.table import (
    MINUS,
    MISSING,
    Block,
    Cell,
    Column,
    Row,
    Table,
    arrow,
    percent,
    with_common_decimals,
)
from sde_edit.store.runs import Run, log_damage

_COLUMNS = ("A", "B", f"A {MINUS} B", "verdict", "examples where A is better", "paired d")
VERDICTS = {"better": "A better", "worse": "B better", "undecided": "undecided"}


@dataclass(frozen=True)
class Pair:
    """Two sealed runs, A and B, of one data set.

    whole: their results on all their examples. shared: their results on the examples that both
    have; if a run has others, `shared` holds only the metrics with a value per example.
    """

    runs: tuple[Run, Run]
    whole: tuple[RunResult, RunResult]
    shared: tuple[RunResult, RunResult]

    @property
    def metrics(self) -> list[str]:
        """The metrics that both runs have."""
        a, b = self.whole
        return [metric for metric in a.scores if metric in b.scores]

    @property
    def per_example(self) -> list[str]:
        """The metrics that have a value for each image in both runs."""
        scores = self.shared[0].scores
        return [name for name in self.metrics if name in scores and scores[name].per_example]

    def values(self, metric: str) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Id -> value on the shared examples, of A and of B."""
        a, b = (run.scores[metric].per_example for run in self.shared)
        assert a is not None
        assert b is not None
        return a, b

    def gains(self, metric: str) -> dict[str, float]:
        """Id -> advantage of A on a shared example: 0 within rounding, negative if B is better."""
        a, b = self.values(metric)
        sign = 1 if self.whole[0].scores[metric].higher_is_better else -1
        tolerance = max(run.scores[metric].tolerance for run in self.whole)
        gains = {i: sign * (a[i] - b[i]) for i in sorted(a.keys() & b.keys())}
        return {i: 0.0 if is_rounding(a[i], b[i], tolerance) else g for i, g in gains.items()}


# ------------------------------------------------------------------ two runs
def open_pair(a: str, b: str, overrides: Sequence[str]) -> Pair:
    """Two runs, each given by its path, or by a unique beginning of its id or folder name.

    overrides: only `paths.*` and `plugins`. Raises UserError if the runs cannot be found or
    compared.
    """
    if idle := [o for o in overrides if o not in keyed(overrides, ("paths.", "plugins"))]:
        raise UserError(
            f"{idle[0]}: the runs are finished; compare takes paths.*=DIR and plugins=DIR alone"
        )
    results = results_dir(overrides)
    return pair_of(find_run(a, results), find_run(b, results))


def pair_of(left: Run, right: Run) -> Pair:
    """The pair of two runs.

    Raises UserError unless the runs are different, sealed, of one data set, and overlap.
    """
    log_damage((left, right))
    a, b = load_finished(left), load_finished(right)
    if a.id == b.id:
        raise UserError(f"A and B are the same run {a.id}")
    if a.spec.data.digest != b.spec.data.digest:
        where = "; ".join(line for line in _unlike(a, b) if line.startswith("data"))
        raise UserError(f"runs {a.id} and {b.id} are of different data, nothing to pair ({where})")
    if not a.examples & b.examples:
        raise UserError(f"runs {a.id} and {b.id} have no example in common")
    shared_a, shared_b = on_common_examples([a, b])
    return Pair((left, right), (a, b), (shared_a, shared_b))


# ------------------------------------------------------------------ the table
def describe(pair: Pair) -> str:
    """Markdown: every metric of both runs, the settings, and where the specs differ."""
    judged = compared(pair)
    found = [_row(pair, metric, *one) for metric, one in judged.items()]
    cells = {metric: [cell] for metric, (_, cell) in judged.items() if isinstance(cell, Cell)}
    a, b = pair.whole
    title = f"{_name(a)} (A) against {_name(b)} (B)"
    columns = tuple(Column("", text) for text in _COLUMNS)
    block = Block("", tuple(row for row, _ in found))
    notes = (*_runs_notes(pair), *undecided_note(cells), *(n for _, notes in found for n in notes))
    table = Table("compare", title, "metric", columns, (block,), (*notes, *settings_notes([a, b])))
    return f"{markdown(table)}\n{_differences(pair)}"


def _name(run: RunResult) -> str:
    return f"{run.spec.sampler.name} `{run.id}`"


def compared(pair: Pair) -> dict[str, tuple[tuple[RunResult, RunResult], Cell | str]]:
    """Metric -> A and B as far as they can be compared, and A - B with a paired interval and a
    verdict on A that holds over all metrics, or why there is none.

    Raises UserError if the conventions of a metric differ.
    """
    found = {metric: _compared(pair, metric) for metric in pair.metrics}
    family = {m: one for m, (_, one) in found.items() if isinstance(one, Difference)}
    judged = dict(zip(family, over_family([*family.values()]), strict=True))
    return {
        metric: (runs, one if isinstance(one, str) else judged[metric])
        for metric, (runs, one) in found.items()
    }


def _compared(pair: Pair, metric: str) -> tuple[tuple[RunResult, RunResult], Difference | str]:
    common_convention(metric, pair.whole)
    if any(metric not in run.scores for run in pair.shared):
        return pair.whole, "it is of a whole set of images, and A and B hold different examples"
    a, b = pair.shared
    return pair.shared, difference([a], [b], metric)


def _row(
    pair: Pair, metric: str, runs: Sequence[RunResult], found: Cell | str
) -> tuple[Row, list[str]]:
    """The row of a metric and its notes. Raises UserError if the conventions differ."""
    convention, higher = common_convention(metric, pair.whole)
    notes = [f"{metric}: {convention}"]
    a, b = with_common_decimals(score_cell(run, metric) for run in runs)
    if isinstance(found, str):
        notes.append(f"{metric} has no paired difference: {found}")
        found = Cell()
    verdict = Cell(text=verdict_text(found, VERDICTS) or MISSING)
    (shown,) = with_common_decimals([replace(found, verdict="", exploratory=False)])
    share = Cell(text=_share(pair, metric) if metric in pair.per_example else MISSING)
    effect = Cell(found.effect, decimals=2)
    return Row(f"{metric} {arrow(higher)}", "arm", (a, b, shown, verdict, share, effect)), notes


def _share(pair: Pair, metric: str) -> str:
    gains = pair.gains(metric).values()
    better, equal = sum(gain > 0 for gain in gains), sum(gain == 0 for gain in gains)
    counted = f"{better} of {len(gains)}" + (f", {equal} equal" if equal else "")
    return f"{percent(better / len(gains))} ({counted})"


def _runs_notes(pair: Pair) -> list[str]:
    a, b = pair.whole
    notes = [f"{letter}: `{run.path.name}`" for letter, run in zip("AB", pair.runs, strict=True)]
    if a.examples != b.examples:
        n = len(pair.shared[0].examples)
        notes.append(f"A holds {a.n} examples and B {b.n}; the {n} that both have are compared")
    for letter, one, other in (("A", a, b), ("B", b, a)):
        if alone := [metric for metric in one.scores if metric not in other.scores]:
            notes.append(f"Only {letter} has {', '.join(alone)}")
    return [
        *notes,
        "Differences are paired by example; the verdict names a run where A is better or worse",
        rule_note("all these metrics"),
    ]


def _differences(pair: Pair) -> str:
    return "\n".join(["## Where the specs differ", "", *(f"- {x}" for x in _unlike(*pair.whole))])


def _unlike(a: RunResult, b: RunResult) -> list[str]:
    """A line for each key in which the specs differ; digests are abbreviated."""
    found = diff_specs(a.spec, b.spec).items()
    length = {key: 12 if key.endswith(".digest") else None for key, _ in found}
    return [f"{key}: A {str(x)[: length[key]]}, B {str(y)[: length[key]]}" for key, (x, y) in found]


# ------------------------------------------------------------------ the contact sheet
def write_sheet(
    pair: Pair, overrides: Sequence[str], *, metric: str | None, examples: int
) -> Path | None:
    """Write `drawn` to results/figures/compare__<A>__<B>.png; None if no example differs."""
    sheet = drawn(pair, overrides, metric=metric, examples=examples)
    if sheet is None:
        return None
    name = f"compare__{'__'.join(run.id for run in pair.whole)}.png"
    return save_sheet(sheet, results_dir(overrides) / "figures" / name)


def drawn(
    pair: Pair, overrides: Sequence[str], *, metric: str | None, examples: int
) -> Image | None:
    """A sheet of the examples that differ most by a metric; None if no example differs.

    Raises UserError if the metric has no values per example, or if the data set of A is not on this
    machine.
    """
    made_with = [*pair.runs[0].overrides(), *overrides]
    chosen = chosen_metric(pair, metric, compose_config(made_with)["metrics"])
    ids = most_different(pair.gains(chosen), examples)
    return draw(pair, chosen, data_set(made_with)[1], ids) if ids else None


def chosen_metric(pair: Pair, metric: str | None, preferred: Sequence[str]) -> str:
    """The metric that was asked for, else the first of `preferred` with values per example, else
    any metric with values per example.

    Raises UserError if the metric has no values per example in both runs, or if none has.
    """
    known = pair.per_example
    if not known:
        raise UserError("A and B share no metric per example: evaluate them with one, as psnr")
    if metric is not None and metric not in known:
        raise UserError(f"no metric {metric!r} per example in both runs.{suggest(metric, known)}")
    return metric or next(name for name in (*preferred, *known) if name in known)


def most_different(gains: Mapping[str, float], count: int) -> list[str]:
    """Ids, half where A is better and half where B is, each by decreasing advantage."""
    order = ranked(gains)
    a = [i for i in order if gains[i] > 0][: count - count // 2]
    b = [i for i in reversed(order) if gains[i] < 0][: count // 2]
    return a + b


def draw(pair: Pair, metric: str, dataset: Dataset, ids: Sequence[str]) -> Image:
    """A sheet of the examples in both runs, with their values of the metric."""
    gains, (a, b) = pair.gains(metric), pair.values(metric)
    comments = [
        f"{'A' if gains[i] > 0 else 'B'} is better in {metric}: A {a[i]:.4g}, B {b[i]:.4g}"
        for i in ids
    ]
    named = {f"{x}: {r.spec.sampler.name}": r for x, r in zip("AB", pair.runs, strict=True)}
    hidden = any(uses_mask(run.spec) for run in pair.whole)
    return examples_sheet(named, dataset, ids, hidden=hidden, comments=comments)


def uses_mask(spec: RunSpec) -> bool:
    """Whether the task of a run needs the example's mask."""
    task = spec.task
    if spec.is_external:
        return False  # the task's settings, which decide it, are not known
    return bool(build("tasks", task.kind, task.params).uses_mask)
