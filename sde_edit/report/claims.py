"""Claims of papers, decided by stored tables.

A claim names the cells of one table and a rule; both are fixed in `conf/claim/<name>.yaml` before
the table is made. The rules, with the level at which each of their answers may be wrong:

every   Each comparison must be better by its own 95 % interval. This is an intersection-union test
        (Berger 1982, Technometrics 24): all parts together keep the level of one. The claim is
        refuted if a single comparison is worse, where the control is over all comparisons.
most    More than half of the comparisons must be better; the claim is refuted if at least half are
        worse. Both count comparisons that are decided under control over all of them.
equal   Each 95 % interval must lie within the margin (equivalence by two one-sided tests,
        Schuirmann 1987, J. Pharmacokinet. Biopharm. 15). The claim is refuted if one lies outside,
        where the control is over all comparisons.
exact   All images of each cell must be equal in every bit. Nothing is estimated.

Control over all comparisons is the `verdict` of a difference that the table holds. For what it does
not hold, and in tables from before there were families, it is Bonferroni's: the half intervals are
stretched by the ratio of the normal quantiles.

Better by its own interval means, for a difference of the table, that its own p-value is at most
.05 too: among few images a percentile interval is too narrow.

A comparison is paired if the table holds the difference. Otherwise its interval is that of two
cells: [low_A - high_B, high_A - low_B]. The standard deviation of a difference is at most the sum
of the two, so for normal estimates its coverage is at least 95 % however the two depend on each
other. It is wider than the paired one, and undecided more often.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from statistics import NormalDist
from typing import Annotated, Literal

from pydantic import Field

from sde_edit.errors import UserError
from sde_edit.registry import Text, strict, suggest
from sde_edit.report.cells import is_rounding, verdict_of
from sde_edit.report.multiplicity import LEVEL
from sde_edit.report.table import Block, Cell, Row, Table
from sde_edit.report.table import Verdict as Sign

Rule = Literal["every", "most", "equal", "exact"]
Verdict = Literal["reproduced", "not reproduced", "undecided", "not tested here"]

_COUNT = re.compile(r"(\d+) of (\d+)")  # of the images that are equal in every bit
_CERTAIN = 1e-9  # stands for half the interval of what is known without error


# ------------------------------------------------------------------ what is claimed
@strict
@dataclass(frozen=True)
class World:
    """Names of models and data sets. overrides: of the command that makes the table for them."""

    model: tuple[Text, ...]
    data: tuple[Text, ...]
    overrides: tuple[str, ...] = ()

    def is_that_of(self, other: World) -> bool:
        """Whether the models and the data sets are the same."""
        return {*self.model} == {*other.model} and {*self.data} == {*other.data}

    def __str__(self) -> str:
        return f"{', '.join(self.model)} on {', '.join(self.data)}"


@strict
@dataclass(frozen=True)
class Claim:
    """Settings of a claim.

    topic: the heading under which it stands.
    sentence: what is claimed.
    where: section, table or figure of the paper.
    table: the name of the table whose cells decide.
    rule: how they decide; docs/claims.md explains the four.
    arms: the rows that the claim is about.
    than: the row that each of them is compared with; without it each column is compared with the
    one before it, in the order of `columns`, and under the rule `equal` with all before it, since
    small differences add up.
    columns: labels, as 25, groups, as "small masks", or both, as "small masks, 25"; default: all.
    metrics: titles of blocks; of several in a list the first that the table has counts, as
    [fid, shapes_fid].
    margin: of the rule `equal`, in units of the metric.
    relative: whether the margin is a share of the value that is compared with.
    published: the models and data of the publication, and the overrides that choose them.
    headline: whether it is in the summary.
    note: what the reader must know to judge the verdict.
    """

    name: Text
    topic: Text
    sentence: Text
    where: Text
    table: Text
    rule: Rule
    arms: Annotated[tuple[Text, ...], Field(min_length=1)]
    metrics: Annotated[tuple[Text | Annotated[tuple[Text, ...], Field(min_length=1)], ...],
                       Field(min_length=1)]  # fmt: skip
    than: Text | None = None
    columns: tuple[Text, ...] = ()
    margin: Annotated[float, Field(gt=0)] | None = None
    relative: bool = False
    published: World | None = None
    headline: bool = False
    note: str = ""

    def check(self) -> None:
        """Raises UserError for settings that do not go together."""
        if (self.rule == "equal") != (self.margin is not None):
            raise UserError(
                f"claim {self.name!r}: rule equal needs a margin, and no other rule has one"
            )
        if self.relative and self.margin is None:
            raise UserError(f"claim {self.name!r}: relative is for a margin, and there is none")
        if self.rule == "exact" and self.than is not None:
            raise UserError(f"claim {self.name!r}: rule exact compares no arms; leave out than")
        if self.than in self.arms:
            raise UserError(f"claim {self.name!r}: {self.than!r} cannot be compared with itself")


# ------------------------------------------------------------------ what was found
@dataclass(frozen=True)
class Comparison:
    """One comparison of two cells, A - B, in units of the metric; or a count of equal images.

    a, b: "row | column" of the cells; b is "" for a count. low, high: 95 % interval, None for what
    is known without error, such as a count of evaluations. n: images. paired: whether the interval
    is that of the same images. own: whether A is better by this interval. controlled: the same
    under control over all comparisons. against: the value of B. text: shown in place of numbers.
    """

    metric: str
    a: str
    b: str
    value: float
    low: float | None
    high: float | None
    n: int | None
    paired: bool
    own: Sign
    controlled: Sign
    higher_is_better: bool | None
    against: float
    decimals: int
    text: str = ""


@dataclass(frozen=True)
class Finding:
    """What the stored tables say of a claim, for one model and data set.

    remedy: the command that makes what is missing. weights: model -> the digest of its weights.
    """

    world: World
    verdict: Verdict
    comparisons: tuple[Comparison, ...] = ()
    remedy: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)


def world_of(table: Table) -> World:
    """The models and data sets of a table's runs, which its notes name."""
    return World(_named(table, "Model"), _named(table, "Data"))


def _named(table: Table, part: str) -> tuple[str, ...]:
    """The names in the line that `settings_notes` writes of a part of the specs."""
    listed = _noted(table, part).removesuffix(".")
    names = re.findall(r"(?:^|; )([^\s;]+) \(version \d", listed) or listed.split("; ")
    return tuple(dict.fromkeys(filter(None, names)))


def weights_of(table: Table) -> dict[str, str]:
    """Model -> the digest of its weights, of the models whose digest the notes say."""
    return dict(re.findall(r"([^\s;]+) \(version \d+, digest (\w+)\)", _noted(table, "Model")))


def _noted(table: Table, part: str) -> str:
    """What the notes say of a part of the specs; "" if nothing."""
    head = f"{part}: "
    said = (note.removeprefix(head) for note in table.notes if note.startswith(head))
    return next(said, "")


def judge(claim: Claim, table: Table, remedy: str) -> Finding:
    """What a table says of a claim. remedy: the command that makes what the table lacks.

    Raises UserError for a metric, arm or column that the table does not have, with those it has.
    """
    claim.check()
    found = list(_comparisons(claim, table))
    known = tuple(one for one in found if one is not None)
    world, weights = world_of(table), weights_of(table)
    if len(known) < len(found):
        return Finding(world, "not tested here", known, remedy, weights)
    return Finding(world, _RULES[claim.rule](claim, known), known, weights=weights)


def decisive(claim: Claim, finding: Finding) -> Comparison:
    """The comparison that is least in favour of the claim."""
    return min(finding.comparisons, key=lambda one: _favour(claim, one))


def _favour(claim: Claim, one: Comparison) -> float:
    """How far a comparison speaks for the claim; only the order counts."""
    if claim.rule == "exact":
        return one.value
    if claim.rule == "equal":
        ends = (one.low, one.high) if one.low is not None and one.high is not None else (one.value,)
        return -max(abs(end or 0.0) for end in ends) / _margin(claim, one)
    half = (one.high - one.low) / 2 if one.low is not None and one.high is not None else 0.0
    gain = one.value if one.higher_is_better else -one.value
    return gain / (half or _CERTAIN)


def score(claim: Claim, finding: Finding) -> str:
    """How many of the comparisons are as claimed; "" if the claim is not tested."""
    if finding.verdict == "not tested here":
        return ""
    every = finding.comparisons
    if claim.rule == "exact":
        return f"{sum(one.value == one.n for one in every)} of {len(every)} exact"
    if claim.rule == "equal":
        return f"{sum(_inside(claim, one) for one in every)} of {len(every)} within the margin"
    signs = [one.own if claim.rule == "every" else one.controlled for one in every]
    worse = [one.controlled for one in every].count("worse")
    return f"{signs.count('better')} of {len(every)} better, {worse} worse"


# ------------------------------------------------------------------ the rules
def _every(claim: Claim, found: Sequence[Comparison]) -> Verdict:
    if any(one.controlled == "worse" for one in found):
        return "not reproduced"
    return "reproduced" if all(one.own == "better" for one in found) else "undecided"


def _most(claim: Claim, found: Sequence[Comparison]) -> Verdict:
    signs = [one.controlled for one in found]
    if 2 * signs.count("better") > len(signs):
        return "reproduced"
    return "not reproduced" if 2 * signs.count("worse") >= len(signs) else "undecided"


def _equal(claim: Claim, found: Sequence[Comparison]) -> Verdict:
    stretch = _bonferroni(len(found))
    if any(_outside(claim, one, stretch) for one in found):
        return "not reproduced"
    return "reproduced" if all(_inside(claim, one) for one in found) else "undecided"


def _inside(claim: Claim, one: Comparison) -> bool:
    margin, (low, high) = _margin(claim, one), _interval(one, 1.0)
    return -margin <= low and high <= margin


def _outside(claim: Claim, one: Comparison, stretch: float) -> bool:
    margin, (low, high) = _margin(claim, one), _interval(one, stretch)
    return low > margin or high < -margin


def _exact(claim: Claim, found: Sequence[Comparison]) -> Verdict:
    return "reproduced" if all(one.value == one.n for one in found) else "not reproduced"


_RULES = {"every": _every, "most": _most, "equal": _equal, "exact": _exact}


def _margin(claim: Claim, one: Comparison) -> float:
    assert claim.margin is not None
    return claim.margin * abs(one.against) if claim.relative else claim.margin


def _interval(one: Comparison | Cell, stretch: float) -> tuple[float, float]:
    """The interval with its halves stretched; the whole line if it rests on one image.

    A number without an interval is known without error otherwise.
    """
    assert one.value is not None
    if one.low is None or one.high is None:
        return (one.value, one.value) if one.n != 1 else (-float("inf"), float("inf"))
    return (
        one.value - stretch * (one.value - one.low),
        one.value + stretch * (one.high - one.value),
    )


def _bonferroni(comparisons: int) -> float:
    """By how much half a normal 95 % interval grows when several must hold together."""
    quantile = NormalDist().inv_cdf
    return quantile(1 - LEVEL / 2 / comparisons) / quantile(1 - LEVEL / 2)


# ------------------------------------------------------------------ the comparisons
def _comparisons(claim: Claim, table: Table) -> Iterator[Comparison | None]:
    """The comparisons of a claim; None for each that lacks a value."""
    found = [_block(claim, table, metric) for metric in claim.metrics]
    blocks = list({block.title: block for block in found}.values())
    places = _places(claim, table)
    if claim.rule == "exact":
        for block in blocks:
            for label in claim.arms:
                row = _row(claim, block, label)
                yield from (_count_of(claim, block, row, table, i) for i in places)
        return
    pairs = [
        (block, label, claim.than or label, i, j)
        for block in blocks
        for label in claim.arms
        for i, j in (
            _of_columns(claim, table, places) if claim.than is None else [(i, i) for i in places]
        )
    ]
    for block, ours, theirs, i, j in pairs:
        if block.higher_is_better is None and claim.rule != "equal":
            raise UserError(f"claim {claim.name!r}: {block.title} has no better direction")
        a, b = _row(claim, block, ours), _row(claim, block, theirs)
        names = [_place(row, table, k) for row, k in ((a, i), (b, j))]
        yield _compared(block, names, a.cells[i], b.cells[j], len(pairs))


def _of_columns(claim: Claim, table: Table, places: Sequence[int]) -> list[tuple[int, int]]:
    """Each column with the one before it in its group; for `equal` with all before it."""
    groups = dict.fromkeys(table.columns[i].group for i in places)
    members = ([i for i in places if table.columns[i].group == group] for group in groups)
    found = [
        (after, before)
        for group in members
        for before, after in (combinations(group, 2) if claim.rule == "equal" else pairwise(group))
    ]
    if not found:
        raise UserError(
            f"claim {claim.name!r}: without than, columns are compared with each other, and there "
            "is one: name two, or give than"
        )
    return found


def _compared(
    block: Block, names: Sequence[str], a: Cell, b: Cell, together: int
) -> Comparison | None:
    """The comparison of two cells. together: the number of comparisons of the claim."""
    if a.value is None or b.value is None:
        return None
    difference = _stored_difference(block, a, b) or _of_two(a, b)
    assert difference.value is not None
    paired = bool(difference.runs)
    own, controlled = _signs(difference, together, higher=bool(block.higher_is_better))
    if is_rounding(a.value, b.value, 0.0):
        own = controlled = "undecided"
    return Comparison(
        metric=block.title, a=names[0], b=names[1], value=difference.value,
        low=difference.low, high=difference.high, n=difference.n, paired=paired,
        own=own, controlled=controlled, higher_is_better=block.higher_is_better, against=b.value,
        decimals=difference.decimals if paired else max(a.decimals, b.decimals),
    )  # fmt: skip


def _signs(difference: Cell, together: int, *, higher: bool) -> tuple[Sign, Sign]:
    """Whether A - B is better, alone and under control over all comparisons.

    Only a difference of a table with families has `pointwise`, and p if it was tested.
    """
    if difference.pointwise:
        surely = difference.p is not None and difference.p <= LEVEL
        return (difference.pointwise if surely else "undecided"), difference.verdict
    own, controlled = (
        verdict_of(*_interval(difference, stretch), higher_is_better=higher)
        for stretch in (1.0, _bonferroni(together))
    )
    return own, controlled


def _stored_difference(block: Block, a: Cell, b: Cell) -> Cell | None:
    """A - B of a difference row; None if there is none."""
    for row in block.rows:
        for cell in row.cells if row.kind == "difference" else ():
            if _is_difference(cell, a, b):
                return cell
            if _is_difference(cell, b, a):
                return _negative(cell)
    return None


def _is_difference(cell: Cell, a: Cell, b: Cell) -> bool:
    """Whether a cell is A - B, by its runs and its value.

    The runs alone do not say: the mean and the best of the same candidates rest on the same runs.
    """
    if cell.value is None or a.value is None or b.value is None or not a.runs or not b.runs:
        return False
    rounding = 1e-9 * max(abs(a.value), abs(b.value))
    return cell.runs == (*a.runs, *b.runs) and abs(cell.value - a.value + b.value) <= rounding


def _negative(cell: Cell) -> Cell:
    """B - A of the difference A - B."""
    other: dict[Sign, Sign] = {"better": "worse", "worse": "better"}
    value, low, high = (None if end is None else -end for end in (cell.value, cell.high, cell.low))
    return replace(
        cell, value=value, low=low, high=high,
        verdict=other.get(cell.verdict, cell.verdict),
        pointwise=other.get(cell.pointwise, cell.pointwise),
        effect=None, superiority=None,
    )  # fmt: skip


def _of_two(a: Cell, b: Cell) -> Cell:
    """A - B with the interval of two cells; without one if both are known without error."""
    assert a.value is not None
    assert b.value is not None
    n = min((n for n in (a.n, b.n) if n is not None), default=None)
    (low_a, high_a), (low_b, high_b) = _ends(a), _ends(b)
    if a.low is None and b.low is None:
        return Cell(a.value - b.value, n=n)
    return Cell(a.value - b.value, low_a - high_b, high_a - low_b, n)


def _ends(cell: Cell) -> tuple[float, float]:
    assert cell.value is not None
    if cell.low is None or cell.high is None:
        return cell.value, cell.value
    return cell.low, cell.high


def _count_of(claim: Claim, block: Block, row: Row, table: Table, i: int) -> Comparison | None:
    """How many images of a cell are equal in every bit."""
    cell = row.cells[i]
    if cell.value is None:
        return None
    counted = _COUNT.fullmatch(cell.text)
    if counted is None:
        raise UserError(
            f"claim {claim.name!r}: {block.title} counts no equal images, which rule exact needs"
        )
    return Comparison(
        metric=block.title, a=_place(row, table, i), b="",
        value=int(counted[1]), low=None, high=None, n=int(counted[2]), paired=False,
        own="", controlled="", higher_is_better=True, against=0.0, decimals=0, text=cell.text,
    )  # fmt: skip


# ------------------------------------------------------------------ names in the table
def _block(claim: Claim, table: Table, metric: str | tuple[str, ...]) -> Block:
    """The block of the first of these metrics that the table has."""
    asked = (metric,) if isinstance(metric, str) else metric
    blocks = {block.title: block for block in table.blocks}
    for title in asked:
        if title in blocks:
            return blocks[title]
    raise _unknown(claim, "metric", asked[-1], list(blocks))


def _place(row: Row, table: Table, column: int) -> str:
    return f"{row.label} | {table.columns[column].heading}"


def _row(claim: Claim, block: Block, label: str) -> Row:
    """The row of an arm, which may be that of another arm with the same runs."""
    arms = [row for row in block.rows if row.kind == "arm"]
    rows = {twin: row for row in arms for twin in row.stands_for}
    rows |= {row.label: row for row in arms}
    if label not in rows:
        raise _unknown(claim, "arm", label, list(rows))
    return rows[label]


def _places(claim: Claim, table: Table) -> list[int]:
    """The indices of the columns, in the order asked for."""
    if not claim.columns:
        return list(range(len(table.columns)))
    places: list[int] = []
    for name in claim.columns:
        fitting = [i for i, c in enumerate(table.columns) if name in (c.label, c.group, c.heading)]
        if not fitting:
            known = [n for c in table.columns for n in (c.label, c.group, c.heading) if n]
            raise _unknown(claim, "column", name, list(dict.fromkeys(known)))
        places += [i for i in fitting if i not in places]
    return places


def _unknown(claim: Claim, what: str, name: str, known: list[str]) -> UserError:
    return UserError(
        f"claim {claim.name!r}: table {claim.table} has no {what} {name!r}.{suggest(name, known)}"
    )
