"""Chooses runs of the store by names and filters, such as `task=inpaint n>=64`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sde_edit.commands.find import run_named
from sde_edit.config import results_dir, values_of
from sde_edit.errors import UserError
from sde_edit.registry import suggest
from sde_edit.report.cells import metrics_of
from sde_edit.report.leaderboard import STATES, Listing, list_run
from sde_edit.report.selection import flatten
from sde_edit.store.runs import RunStore, log

_WORD = re.compile(r"([\w.]+)(<=|>=|!=|=|<|>)(.*)", re.DOTALL)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Filter:
    """Keeps the runs whose value at a key compares so with one of the values.

    `metric` is equal to every metric that the run has.
    """

    word: str
    key: str
    sign: str
    values: tuple[Any, ...]

    def keeps(self, listing: Listing) -> bool:
        if self.key == "metric":
            return (self.sign == "=") == any(metric in self.values for metric in listing.scores)
        value = _facts(listing).get(self.key)
        if self.sign in ("=", "!="):
            return (self.sign == "=") == (value in self.values)
        is_number = isinstance(value, int | float)
        return is_number and _COMPARE[self.sign](value, self.values[0])


def _facts(listing: Listing) -> dict[str, Any]:
    """What can be filtered by."""
    return flatten(listing.spec) | {"n": listing.n, "state": listing.state}


@dataclass(frozen=True)
class Choice:
    """Runs, and their metrics that were asked for."""

    listings: tuple[Listing, ...]
    metrics: tuple[str, ...]


def choose(words: Sequence[str], *, may_be_none: bool = False) -> Choice:
    """The runs that have one of the names, if any is given, and that fit all filters.

    words: beginnings of ids or of names of run folders, filters KEY=VALUE, KEY!=VALUE and KEY>=3
    with the keys of specs, metric, n and state, and paths.results=DIR. Damaged runs are logged and
    left out. may_be_none: whether no run may be left, or no folder be there. Raises UserError for a
    word that cannot be understood, and if no run is left that must be.
    """
    where = [word for word in words if word.startswith("paths.results=")]
    names = [word for word in words if not _WORD.fullmatch(word)]
    filters = [_filter(word) for word in words if word not in (*where, *names)]
    results = results_dir(where)
    runs = (RunStore(results) if may_be_none else RunStore.there(results)).runs()
    if names:
        runs = list({run.id: run for run in (run_named(n, runs, results) for n in names)}.values())
    listings = [list_run(run) for run in runs]
    for one in listings:
        for problem in one.problems:
            log.warning("run %s: %s", one.id, problem)
    _check(filters, listings, strict=not may_be_none)
    kept = [one for one in listings if all(one_filter.keeps(one) for one_filter in filters)]
    if not kept and not may_be_none:
        fit = f" fits {' '.join(f.word for f in filters)}" if filters else ""
        raise UserError(f"no run in {results / 'runs'}{fit}")
    return Choice(tuple(kept), _metrics(filters, kept))


def _filter(word: str) -> Filter:
    match = _WORD.fullmatch(word)
    assert match
    key, sign, text = match.groups()
    if sign == "=" and text[:1] in ("<", ">", "!"):
        raise UserError(f"{word}: write {key}{text[0]}={text[1:]}")
    if sign in ("=", "!="):
        return Filter(word, key, sign, tuple(values_of(f"{key}={text}")))
    try:
        return Filter(word, key, sign, (float(text),))
    except ValueError:
        raise UserError(f"{word}: {text!r} is not a number to compare {key} with") from None


def _check(filters: Sequence[Filter], listings: Sequence[Listing], *, strict: bool) -> None:
    """Raises UserError for a key that no run has, and, if strict, for a value that none has."""
    known: dict[str, list[Any]] = {"metric": metrics_of(listings), "state": list(STATES)}
    keys = sorted({key for one in listings for key in _facts(one)} | {"metric"})
    for one in filters:
        if listings and one.key not in keys:
            raise UserError(
                f"{one.word}: no run has a setting {one.key!r}.{suggest(one.key, keys)}"
            )
        values = known.get(one.key, [_facts(listing).get(one.key) for listing in listings])
        # To leave out what is not there is no mistake.
        closed = one.key in known or (strict and one.sign == "=")
        for value in one.values if listings and closed else ():
            if value not in values:
                hint = suggest(str(value), sorted({str(own) for own in values}))
                raise UserError(f"{one.word}: no run has {one.key} {str(value)!r}.{hint}")


def _metrics(filters: Sequence[Filter], listings: Sequence[Listing]) -> tuple[str, ...]:
    """The metrics of `metric=...`, else all that the runs have."""
    asked = [f.values for f in filters if f.key == "metric" and f.sign == "="]
    return tuple(m for m in metrics_of(listings) if all(m in values for values in asked))
