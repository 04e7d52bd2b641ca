"""The table of a study: what was preferred, how surely, and what the answers are worth.

Letters: R raters, N items, K arms. `statistics` has the formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sde_edit.api.metric import Score
from sde_edit.report.cells import Difference, over_family, verdict_of
from sde_edit.report.multiplicity import studentised
from sde_edit.report.table import (
    MINUS,
    Block,
    Cell,
    Column,
    Row,
    Table,
    percent,
    with_common_decimals,
)
from sde_edit.study.plan import Plan
from sde_edit.study.statistics import (
    Floats,
    bradley_terry,
    krippendorff_alpha,
    preference_p,
    standard_error,
    student_interval,
    wilson,
)
from sde_edit.study.votes import SIMULATED, Asked, Rater, asked_about

PREFERENCE = "preference"
TABLE = "study-"  # what the names of tables of studies begin with
COUNTED, ALL = "raters that count", "all raters"

Scores = Sequence[Mapping[str, Score]]  # of each arm, by metric


@dataclass(frozen=True)
class _Place:
    """A column of the table: what a group of raters answered about a pair; None for all pairs."""

    group: str
    raters: tuple[str, ...]
    column: Column
    asked: Asked | None


def study_table(plan: Plan, raters: Sequence[Rater], scores: Scores) -> Table:
    """The results of a study. scores: of the arms, as far as they are stored."""
    places = _places(plan, raters)
    simulated = any(rater.name.startswith(SIMULATED) for rater in raters)
    return Table(
        name=f"{TABLE}{plan.name}" + f"-{SIMULATED}" * simulated,
        title=f"{_who(simulated)} choose between {_listed([arm.label for arm in plan.arms])}",
        corner="",
        columns=tuple(place.column for place in places),
        blocks=tuple(block for block in _blocks(plan, raters, places, scores) if block.rows),
        notes=(*_state_notes(plan, raters, places), *plan.notes),
        intervals="the 95 % interval over raters and items, unless a note says otherwise",
    )


def _who(simulated: bool) -> str:
    return "Simulated raters, no people," if simulated else "People"


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}"


def _places(plan: Plan, raters: Sequence[Rater]) -> list[_Place]:
    """The pairs, and all pairs together if there are several, of both groups of raters."""
    several = len(plan.pairs) > 1
    groups = {COUNTED: [rater for rater in raters if rater.counts], ALL: list(raters)}
    found = []
    for name, group in groups.items():
        who = tuple(rater.name for rater in group)
        for a, b in plan.pairs:
            label = f"{plan.arms[a].label} or {plan.arms[b].label}"
            column = Column(name, label) if several else Column("", name)
            found.append(_Place(name, who, column, asked_about(plan, group, (a, b))))
        if several:
            found.append(_Place(name, who, Column(name, "all pairs"), None))
    return found


def _blocks(
    plan: Plan, raters: Sequence[Rater], places: Sequence[_Place], scores: Scores
) -> Iterator[Block]:
    preferred = [*_of_arms(plan, places, _preference), *_differences(plan, places)]
    metrics = dict.fromkeys(metric for of in scores for metric in of)
    yield _block(PREFERENCE, preferred, _CROSSED, higher=True)
    yield _block(f"{PREFERENCE}, as if answers were independent",
                 _of_arms(plan, places, _independent), _WILSON)  # fmt: skip
    yield _block(f"{_first(plan)} chosen, by rater", [_of_rater(r.name, places) for r in raters],
                 _BY_RATER)  # fmt: skip
    yield _block("left side chosen", [_row("answers", places, _left)], _LEFT)
    yield _block("same choice again", [_row("repeats", places, _again)], _AGAIN)
    yield _block("Krippendorff's alpha", [_row("raters", places, _alpha)], _ALPHA)
    yield _block("Bradley-Terry strength", _strength_rows(plan, places), _STRENGTH, higher=True)
    yield _block("2AFC score", [_of_metric(m, scores, plan, places) for m in metrics], _AFC,
                 higher=True)  # fmt: skip


def _first(plan: Plan) -> str:
    return plan.arms[0].label if len(plan.pairs) == 1 else "first arm of the pair"


def _block(
    title: str, rows: Sequence[Row], convention: str, *, higher: bool | None = None
) -> Block:
    """A block of the rows in which something is known."""
    known = [row for row in rows if any(cell.value is not None for cell in row.cells)]
    every = [cell for row in known for cell in row.cells]
    estimated = any(cell.low is not None for cell in every)
    cells = iter(with_common_decimals(every) if estimated else every)
    shown = (Row(row.label, row.kind, tuple(next(cells) for _ in row.cells)) for row in known)
    return Block(title, tuple(shown), higher, convention=convention)


def _row(label: str, places: Sequence[_Place], cell: Callable[[Asked], Cell]) -> Row:
    """A cell for each pair that has answers."""
    answered = (place.asked if place.asked and place.asked.answered else None for place in places)
    return Row(label, "arm", tuple(cell(asked) if asked else Cell() for asked in answered))


# ------------------------------------------------------------------ preference
def _of_arms(
    plan: Plan, places: Sequence[_Place], cell: Callable[[Floats, Asked], Cell]
) -> list[Row]:
    """A row for each arm, with a cell of the votes for it [R, N] where it was shown."""

    def of(arm: int, asked: Asked) -> Cell:
        if arm not in asked.arms:
            return Cell()
        votes_RN = asked.votes_RN if arm == asked.arms[0] else 1 - asked.votes_RN
        found = cell(votes_RN, asked)
        return Cell(found.value, found.low, found.high, runs=(plan.arms[arm].run,))

    def row(arm: int) -> Row:
        return _row(plan.arms[arm].label, places, lambda asked: of(arm, asked))

    return [row(arm) for arm in range(len(plan.arms))]


def _preference(votes_RN: Floats, asked: Asked) -> Cell:
    return Cell(float(np.nanmean(votes_RN)), *(asked.interval(votes_RN) or (None, None)))


def _independent(votes_RN: Floats, asked: Asked) -> Cell:
    return _share(votes_RN)


def _share(values: Floats | Sequence[bool]) -> Cell:
    """A share of what is known, with Wilson's interval; a missing cell if nothing is."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        return Cell()
    return Cell(float(known.mean()), *wilson(float(known.sum()), known.size))


def _differences(plan: Plan, places: Sequence[_Place]) -> list[Row]:
    """A row for each pair; the pairs are one family for each group of raters."""
    judged: dict[int, Cell] = {}
    for group in (COUNTED, ALL):
        tested = {
            i: _difference(place.asked, plan)
            for i, place in enumerate(places)
            if place.group == group and place.asked and place.asked.answered
        }
        judged |= dict(zip(tested, over_family([*tested.values()]), strict=True))
    return [_difference_row(plan, arms, places, judged) for arms in plan.pairs]


def _difference_row(
    plan: Plan, arms: tuple[int, int], places: Sequence[_Place], judged: Mapping[int, Cell]
) -> Row:
    first, second = (plan.arms[arm].label for arm in arms)
    here = [bool(place.asked and place.asked.arms == arms) for place in places]
    cells = (judged.get(i, Cell()) if own else Cell() for i, own in enumerate(here))
    return Row(f"{first} {MINUS} {second}", "difference", tuple(cells))


def _difference(asked: Asked, plan: Plan) -> Difference:
    """The preference for the first arm minus that for the second."""
    runs = tuple(plan.arms[arm].run for arm in asked.arms)
    value = float(np.nanmean(asked.votes_RN) - np.nanmean(1 - asked.votes_RN))
    found = asked.interval(asked.votes_RN)
    if found is None:
        cell = Cell(value, runs=runs, verdict="undecided", pointwise="undecided")
        return Difference(cell, None)
    low, high = (2 * end - 1 for end in found)
    replicates_B = 2 * asked.resampling.means(asked.votes_RN) - 1
    replicates_B = np.where(np.isfinite(replicates_B), replicates_B, value)
    cell = Cell(
        value, low, high, runs=runs, verdict="undecided",
        pointwise=verdict_of(low, high, higher_is_better=True),
        p=preference_p(asked.votes_RN, asked.resampling),
    )  # fmt: skip
    return Difference(cell, studentised(replicates_B))


# ------------------------------------------------------------------ what answers are worth
def _of_rater(name: str, places: Sequence[_Place]) -> Row:
    cells = (
        _share(place.asked.votes_RN[place.raters.index(name)])
        if place.asked and name in place.raters
        else Cell()
        for place in places
    )
    return Row(name, "arm", tuple(cells))


def _left(asked: Asked) -> Cell:
    return _share(asked.left_RN)


def _again(asked: Asked) -> Cell:
    return _share(asked.again)


def _alpha(asked: Asked) -> Cell:
    return Cell(krippendorff_alpha(asked.votes_RN), decimals=2)


def _of_metric(metric: str, scores: Scores, plan: Plan, places: Sequence[_Place]) -> Row:
    return _row(metric, places, lambda asked: _agreement(asked, metric, scores, plan))


def _agreement(asked: Asked, metric: str, scores: Scores, plan: Plan) -> Cell:
    """How often a rater chooses the edit that a metric finds better; ties count half."""
    ours, theirs = (scores[arm].get(metric) for arm in asked.arms)
    if not ours or not theirs or not ours.per_example or not theirs.per_example:
        return Cell()
    a, b = (np.array([of.get(i.id, np.nan) for i in plan.items])
            for of in (ours.per_example, theirs.per_example))  # fmt: skip
    better_N = (1 + np.sign(a - b) * (1 if ours.higher_is_better else -1)) / 2
    agrees_RN = asked.votes_RN * better_N + (1 - asked.votes_RN) * (1 - better_N)
    return _preference(agrees_RN, asked) if np.isfinite(agrees_RN).any() else Cell()


# ------------------------------------------------------------------ several arms
def _strength_rows(plan: Plan, places: Sequence[_Place]) -> list[Row]:
    """A row for each arm, with a cell for all pairs of each group of raters."""
    columns = [
        [Cell()] * len(plan.arms)
        if place.asked
        else _strengths([p.asked for p in places if p.asked and p.group == place.group])
        for place in places
    ]
    return [
        Row(arm.label, "arm", tuple(column[k] for column in columns))
        for k, arm in enumerate(plan.arms)
    ]


_STRENGTH_RESAMPLINGS = 200  # enough for a standard error


def _strengths(pairs: Sequence[Asked]) -> list[Cell]:
    """The strength of each arm; missing where answers decide none."""
    arms = 1 + max(b for _, b in (asked.arms for asked in pairs))
    found = bradley_terry(_wins(pairs, arms, 1.0))
    if found is None:
        return [Cell()] * arms
    resampling = pairs[0].resampling
    weights = zip(resampling.raters_BR, resampling.items_BN, strict=True)
    replicates = [
        bradley_terry(_wins(pairs, arms, raters_R[:, None] * items_N))
        for (raters_R, items_N), _ in zip(weights, range(_STRENGTH_RESAMPLINGS), strict=False)
    ]
    known_BK = np.array([one for one in replicates if one is not None]).reshape(-1, arms)
    n = min(pairs[0].votes_RN.shape)
    if min(n, len(known_BK)) < 2:
        return [Cell(float(strength)) for strength in found]
    errors = [standard_error(replicates_B) for replicates_B in known_BK.T]
    return [
        Cell(float(strength), *student_interval(float(strength), error, n))
        for strength, error in zip(found, errors, strict=True)
    ]


def _wins(pairs: Sequence[Asked], arms: int, weights_RN: Floats | float) -> Floats:
    """How often each arm was chosen over each other, [K, K]."""
    wins_KK = np.zeros((arms, arms))
    for asked in pairs:
        a, b = asked.arms
        wins_KK[a, b] = np.nansum(weights_RN * asked.votes_RN)
        wins_KK[b, a] = np.nansum(weights_RN * (1 - asked.votes_RN))
    return wins_KK


# ------------------------------------------------------------------ notes
_CROSSED = (
    "share of questions in which the arm was chosen; interval from the crossed bootstrap over "
    "raters and items, with Student's quantile"
)
_WILSON = "Wilson's interval, which is too short if raters or items differ from each other"
_BY_RATER = "share of the rater's answers; Wilson's interval"
_LEFT = "share of answers; each arm is on the left half of the time; Wilson's interval"
_AGAIN = "share of repeated questions, sides swapped, with the same choice; Wilson's interval"
_ALPHA = "agreement between raters: 1 if they agree on every item, 0 if as by chance"
_STRENGTH = "log strength with mean 0, by maximum likelihood; interval as that of the preference"
_AFC = (
    "how often a rater chooses the edit that the metric finds better, ties half; interval as that "
    "of the preference"
)


def _state_notes(plan: Plan, raters: Sequence[Rater], places: Sequence[_Place]) -> list[str]:
    counted = sum(rater.counts for rater in raters)
    return [
        f"Question: {plan.question}",
        f"Plan {plan.digest[:12]}: {len(plan.items)} items, seed {plan.seed}.",
        f"A rater counts who has answered everything and passed {percent(plan.passed)} of the "
        f"checks: {counted} of {len(raters)}.",
        *map(_rater_note, raters),
        _stopping_note(plan, counted, places),
    ]


def _rater_note(rater: Rater) -> str:
    passed, of = rater.checks
    return (
        f"{rater.name} {'counts' if rater.counts else 'does not count'}: {len(rater.answers)} of "
        f"{rater.asked} questions answered, {passed} of {of} checks passed."
    )


def _stopping_note(plan: Plan, counted: int, places: Sequence[_Place]) -> str:
    """Whether the plan's rule for stopping is met."""
    asked = [place.asked for place in places if place.asked and place.group == COUNTED]
    ends = [one.interval(one.votes_RN) if one.answered else None for one in asked]
    widest = max(((end[1] - end[0]) / 2 if end else np.inf) for end in ends)
    met = counted >= plan.raters and widest <= plan.half_width
    return (
        f"To be stopped when {plan.raters} raters count and half of every interval is at most "
        f"{plan.half_width:g}: {'reached' if met else 'not reached'}, {counted} count and half of "
        f"the longest is {'not known' if np.isinf(widest) else f'{widest:.3f}'}."
    )
