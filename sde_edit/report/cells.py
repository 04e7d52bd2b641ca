"""Cells of tables from the scores of runs: values, costs, paired differences, verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from sde_edit.api.metric import Score, centred_interval
from sde_edit.api.spec import ComponentSpec
from sde_edit.errors import UserError
from sde_edit.report.multiplicity import (
    LEAST,
    LEVEL,
    benjamini_hochberg,
    normal_score,
    step_down_max_t,
    studentised,
    two_sided_p,
)
from sde_edit.report.power import POWER, detectable, paired_d, sigma_of, superiority
from sde_edit.report.results import RunResult, check_same_examples
from sde_edit.report.selection import dotted, specifies
from sde_edit.report.table import DECIDED, SUGGESTED, Cell, Verdict
from sde_edit.store.runs import Headline

Cost = Literal["evaluations", "calls", "seconds"]

# Two scores of equal images differ by rounding if the batches were of other sizes: by up to 1.6e-6
# of the value (KID; FID 1e-7, LPIPS 2e-8) with batches of 1 to 64. Ten times that is no difference.
# Near 0, where that is too little, the metric's own tolerance counts.
ROUNDING = 2.0**-16


# ------------------------------------------------------------------ cells
def score_cell(run: RunResult, metric: str) -> Cell:
    """The score of a run: value, interval and n. Raises KeyError if the run lacks the metric."""
    score = run.scores[metric]
    return without_spread(Cell(score.value, score.low, score.high, score.valued, run.of, (run.id,)))


def mean_cell(runs: Sequence[RunResult], metric: str) -> Cell:
    """The mean score of runs that share a cell, such as three seeds; one run as it is.

    The interval is that of the mean under the common resampling of the examples. Runs that lack the
    metric do not count. Raises UserError if the runs hold different examples.
    """
    scored = [run for run in runs if metric in run.scores]
    if not scored:
        return Cell()
    check_same_examples(runs, "share a cell")
    score = scored[0].scores[metric]
    value, replicates_B = _mean(scored, metric)
    low, high = (
        (score.low, score.high) if len(scored) == 1 else centred_interval(value, replicates_B)
    )
    ids = tuple(run.id for run in runs)
    return without_spread(Cell(value, low, high, score.valued, runs[0].of, ids))


def without_spread(cell: Cell) -> Cell:
    """A cell of one example has no spread: drop its interval."""
    return replace(cell, low=None, high=None) if cell.n == 1 else cell


def cost_cell(runs: Sequence[RunResult], cost: Cost) -> Cell:
    """The mean cost per image over runs; a missing cell without runs or if a cost is unknown."""
    costs = [getattr(run, cost) for run in runs]
    if not costs or None in costs:
        return Cell()
    ids = tuple(run.id for run in runs)
    return Cell(sum(costs) / len(costs), n=runs[0].n, of=runs[0].of, runs=ids)


@dataclass(frozen=True)
class Difference:
    """A - B, not yet judged with the others of its family.

    cell: with the verdict of its own interval alone. null_B: its replicates, centred and
    studentised; None where nothing can be decided, within rounding or on one example.
    """

    cell: Cell
    null_B: NDArray[np.float64] | None


def difference(
    ours: Sequence[RunResult], theirs: Sequence[RunResult], metric: str
) -> Difference | str:
    """Ours - theirs, paired by example, to be judged by `over_family`; or why they are no pairs.

    Several runs on one side, such as three seeds, are averaged within each example; examples are
    what is resampled. The interval is the difference plus the quantiles of the centred differences
    of the replicates. They are centred because bootstrap values of a Fréchet distance lie above the
    value itself. A difference within rounding has no verdict.
    """
    first, *others = [*ours, *theirs]
    score = first.scores[metric]
    for other in others:
        who, rival = f"runs {first.id} and {other.id}", other.scores[metric]
        if other.examples != first.examples or rival.n != score.n:
            return f"{who} hold different examples"
        if len(rival.replicates) != len(score.replicates):
            return f"{who} have different numbers of bootstrap resamplings"
    (left, left_replicates), (right, right_replicates) = (_mean(g, metric) for g in (ours, theirs))
    n = min(run.scores[metric].valued for run in [first, *others])
    value, replicates_B = left - right, left_replicates - right_replicates
    low, high = centred_interval(value, replicates_B)
    tolerance = max(run.scores[metric].tolerance for run in [first, *others])
    effect, share = _effects(ours, theirs, metric, tolerance)
    ids = tuple(run.id for run in [first, *others])
    cell = Cell(
        value, low, high, n, first.of, ids, "undecided", pointwise="undecided",
        effect=effect, superiority=share,
    )  # fmt: skip
    if n < 2:
        return Difference(replace(cell, low=None, high=None), None)
    if n >= LEAST:
        cell = replace(cell, detectable=detectable(sigma_of(replicates_B, n), n))
    if is_rounding(left, right, tolerance):
        return Difference(cell, None)
    pointwise = verdict_of(low, high, higher_is_better=score.higher_is_better)
    p = two_sided_p(value, replicates_B, n)
    return Difference(replace(cell, pointwise=pointwise, p=p), studentised(replicates_B))


def over_family(differences: Sequence[Difference], *, primary: bool = False) -> list[Cell]:
    """The cells of a family of comparisons, with verdicts that hold for all of them together.

    A difference is better or worse if its own interval excludes 0 and its p-value, adjusted by
    step-down max-T, is at most `LEVEL`. Replicates of one number are of the same resampling, so
    comparisons over the same examples keep their dependence. Those over other examples are
    resampled independently of each other; if the sets overlap, that is on the safe side. Of
    unequally many replicates the first are used, which belong together.
    """
    cells = [replace(one.cell, primary=primary) for one in differences]
    tested = [i for i, one in enumerate(differences) if one.null_B is not None]
    if not tested:
        return cells
    nulls = [null_B for one in differences if (null_B := one.null_B) is not None]
    resamplings = min(map(len, nulls))
    p_M = np.array([cells[i].p for i in tested], dtype=np.float64)
    null_BM = np.stack([null_B[:resamplings] for null_B in nulls], axis=1)
    adjusted_M = np.maximum(step_down_max_t(normal_score(p_M), null_BM), p_M)
    q_M = benjamini_hochberg(p_M)
    for i, adjusted, q in zip(tested, adjusted_M.tolist(), q_M.tolist(), strict=True):
        own = cells[i].pointwise
        cells[i] = replace(
            cells[i],
            adjusted=adjusted,
            verdict=own if adjusted <= LEVEL else "undecided",
            exploratory=own != "undecided" and q <= LEVEL,
        )
    return cells


def _effects(
    ours: Sequence[RunResult], theirs: Sequence[RunResult], metric: str, tolerance: float
) -> tuple[float | None, float | None]:
    """The paired d and our probability of superiority; None without a value for each example.

    Values that agree within rounding are ties.
    """
    a, b = (_per_example(group, metric) for group in (ours, theirs))
    if a is None or b is None:
        return None, None
    sign = 1 if ours[0].scores[metric].higher_is_better else -1
    pairs = zip(a.tolist(), b.tolist(), strict=True)
    tied_N = np.array([is_rounding(x, y, tolerance) for x, y in pairs])
    differences_N = np.where(tied_N, 0.0, a - b)
    return paired_d(differences_N), superiority(sign * differences_N)


def _per_example(runs: Sequence[RunResult], metric: str) -> NDArray[np.float64] | None:
    """The value of each example [N], by id, averaged over the runs; None if there are none."""
    values = [run.scores[metric].per_example for run in runs]
    known = [of for of in values if of]
    if len(known) < len(values):
        return None
    ids = sorted(known[0])
    mean_N: NDArray[np.float64] = np.mean([[of[i] for i in ids] for of in known], axis=0)
    return mean_N


def is_rounding(a: float, b: float, tolerance: float) -> bool:
    """Whether two values agree to the accuracy of networks in float32.

    tolerance: of the metric, for values near 0.
    """
    return abs(a - b) <= max(tolerance, ROUNDING * max(abs(a), abs(b)))


def _mean(runs: Sequence[RunResult], metric: str) -> tuple[float, NDArray[np.float64]]:
    """Value and replicates [B], averaged over runs; of unequally many replicates the first."""
    scores = [run.scores[metric] for run in runs]
    resamplings = min(len(score.replicates) for score in scores)
    replicates_B: NDArray[np.float64] = np.mean([s.replicates[:resamplings] for s in scores], 0)
    return float(np.mean([score.value for score in scores])), replicates_B


def verdict_of(low: float, high: float, *, higher_is_better: bool) -> Verdict:
    """The verdict on a difference with this interval."""
    if low <= 0 <= high:
        return "undecided"
    return "better" if (low > 0) == higher_is_better else "worse"


def family_note(name: str, cells: Sequence[Cell]) -> str:
    """How many comparisons of a family are decided, and without the correction."""
    tested = sum(cell.adjusted is not None for cell in cells)
    decided = sum(cell.verdict in DECIDED for cell in cells)
    alone = sum(cell.pointwise in DECIDED for cell in cells)
    found = sum(cell.exploratory for cell in cells)
    return (
        f"{name}: {tested} comparisons tested together, {decided} decided (step-down max-T at "
        f"{LEVEL:g}); {alone} by their own intervals alone, {found} by Benjamini-Hochberg."
    )


def undecided_note(cells: Mapping[str, Sequence[Cell]]) -> list[str]:
    """How large a difference must be to be seen where none is decided; [] if all are.

    cells: metric -> its differences.
    """
    sizes = {
        metric: [
            cell.detectable
            for cell in group
            if cell.verdict == "undecided" and cell.detectable is not None
        ]
        for metric, group in cells.items()
    }
    parts = [
        f"{metric} {' to '.join(dict.fromkeys(f'{size:.2g}' for size in (min(found), max(found))))}"
        for metric, found in sizes.items()
        if found
    ]
    if not parts:
        return []
    return [
        f"What would have been seen where nothing is decided (with probability {POWER:g}, each "
        f"alone, at {LEVEL:g}): {'; '.join(parts)}."
    ]


def rule_note(family: str) -> str:
    """What the verdicts of a family mean."""
    return (
        f"`better` or `worse` holds over {family} together (step-down max-T at {LEVEL:g}) and "
        f"exceeds rounding ({ROUNDING:.1g} of the value, near 0 the metric's tolerance); "
        f"{SUGGESTED} is a hint, by Benjamini-Hochberg at {LEVEL:g}; an interval is of its "
        "difference alone"
    )


def verdict_text(cell: Cell, words: Mapping[str, str] | None = None) -> str:
    """The verdict of a cell in words, with the mark of a hint; "" without one."""
    word = (words or {}).get(cell.verdict, cell.verdict)
    return f"{word} {SUGGESTED}" if cell.suggested else word


class Measured(Protocol):
    """A run with scores, whole or in brief."""

    @property
    def id(self) -> str: ...

    @property
    def scores(self) -> Mapping[str, Score] | Mapping[str, Headline]: ...


def conventions(metric: str, runs: Sequence[Measured]) -> dict[tuple[str, bool], list[str]]:
    """(convention, higher is better) -> ids of the runs whose score of the metric has it."""
    found: dict[tuple[str, bool], list[str]] = {}
    for run in runs:
        score = run.scores[metric]
        found.setdefault((score.convention, score.higher_is_better), []).append(run.id)
    return found


def common_convention(metric: str, runs: Sequence[Measured]) -> tuple[str, bool]:
    """(convention, higher is better) of a metric. Raises UserError if the runs disagree."""
    found = conventions(metric, runs)
    if len(found) > 1:
        parts = (f"{text!r} (runs {', '.join(ids)})" for (text, _), ids in found.items())
        raise UserError(
            f"{metric} was measured by different conventions: {'; '.join(parts)}. Evaluate these "
            "runs again with one of them"
        )
    return next(iter(found))


def metrics_of(runs: Sequence[Measured]) -> list[str]:
    """All metrics of the runs, in the order of their first appearance."""
    return list(dict.fromkeys(name for run in runs for name in run.scores))


def ranked(values: Mapping[str, float]) -> list[str]:
    """Ids in descending order of their values; ties are in the order of the ids."""
    return sorted(values, key=lambda i: (-values[i], i))


# ------------------------------------------------------------------ settings of the runs
def settings_notes(runs: Sequence[RunResult]) -> list[str]:
    """A line for each component of the specs with all its settings, one for the other keys, and
    what the reader must know of the images: on what they were made, those made elsewhere, and
    prompts that were cut."""
    notes = []
    for part in ("model", "task", "sampler", "data"):
        described = describe([getattr(run.spec, part) for run in runs])
        notes.append(f"{part.capitalize()}: {'; '.join(described)}.")
    for label, key in (("Grid spacing", "spacing"), ("last sigma", "last_sigma"),
                       ("dtype", "dtype"), ("seed", "seed")):  # fmt: skip
        asked = [run.spec for run in runs if specifies(run.spec, key)]
        values = dict.fromkeys(str(getattr(spec, key)) for spec in asked)
        notes += [f"{label} {', '.join(values)}"] if values else []
    external = dict.fromkeys(run.spec.sampler.name for run in runs if run.spec.is_external)
    imported = [f"Images made elsewhere: {', '.join(external)}."] if external else []
    others = ["; ".join(notes[4:]) + "."] if notes[4:] else []
    devices = sorted({device for run in runs for device in run.made_on})
    made_on = [f"Made on {'; '.join(devices)}."] if devices else []
    return [*notes[:4], *others, *made_on, *imported, *_cut_note(runs)]


def _cut_note(runs: Sequence[RunResult]) -> list[str]:
    """A line on the prompts that were not read to their end, if there are any."""
    counted = Counter((run.cut, run.n) for run in runs if run.cut)
    parts = [
        f"{cut} of {n} images in {'one run' if times == 1 else f'each of {times} runs'}"
        for (cut, n), times in sorted(counted.items())
    ]
    if not parts:
        return []
    return [f"Prompts longer than the text encoder reads, cut at its limit: {', '.join(parts)}."]


def describe(components: Sequence[ComponentSpec]) -> list[str]:
    """Name, version, digest and settings of each kind of component; only the name of version 0,
    which is a label. Components that differ in nothing but settings share a text."""
    alike: dict[str, list[dict[str, Any]]] = {}
    for one in components:
        digest = f", digest {one.digest[:12]}" if one.digest else ""
        head = f"{one.name} (version {one.version}{digest})" if one.version else one.name
        alike.setdefault(head, []).append(dotted("", one.params) if one.version else {})
    return [f"{head}{_settings(params)}" for head, params in alike.items()]


def _settings(params: Sequence[Mapping[str, Any]]) -> str:
    """All settings, each with all its values: ` with t_0 0.3 / 0.5, guidance 1`."""
    values: dict[str, dict[str, None]] = {}
    for one in params:
        for key, value in one.items():
            values.setdefault(key[1:], {})[_shown(value)] = None
    shown = [f"{key} {' / '.join(_in_order(several))}" for key, several in values.items()]
    return f" with {', '.join(shown)}" if shown else ""


def _in_order(values: Iterable[str]) -> list[str]:
    """Ascending if all are numbers, else as they come."""
    try:
        return sorted(values, key=float)
    except ValueError:
        return list(values)


def _shown(value: Any) -> str:
    quoted = isinstance(value, str) and (" " in value or not value)
    return f'"{value}"' if quoted else str(value)
