"""Counts the contents of a data set, and shows published counts beside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from sde_edit.api.spec import ComponentSpec
from sde_edit.registry import plugin
from sde_edit.report.cells import describe
from sde_edit.report.table import Block, Cell, Column, Row, Table, percent

Counts = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Paper:
    """Published counts. values: category -> label -> count, as `HasStatistics.statistics`."""

    source: str
    setting: str
    values: dict[str, dict[str, int]]
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)


@plugin
@dataclass(frozen=True)
class Composition:
    """A block for each category that the data set or the paper counts, with a line per label.

    Labels that differ only in case, blanks, `-` and `_` are merged.

    title: the heading of the table.
    data: the data set, unless an override names another; it must implement `HasStatistics`.
    paper: published counts.
    remarks: notes to print below the table.
    """

    name: str
    title: str
    data: str
    paper: Paper
    remarks: tuple[str, ...] = ()

    def build(self, data: ComponentSpec, counts: Counts) -> Table:
        """The table of a data set's counts; categories that it does not count are dashes."""
        titles = dict.fromkeys((*self.paper.values, *counts))
        last = [title for title in titles if title != "images"] + ["images"]
        every = counts["images"]["all"]
        blocks = tuple(self._block(title, counts.get(title), every) for title in last)
        columns = tuple(Column("", label) for label in (data.name, "share", "paper"))
        published = f"Published counts: {self.paper.source}; {self.paper.setting}."
        notes = (f"Data: {describe([data])[0]}.", published, *self.remarks)
        return Table(self.name, self.title, "", columns, blocks, notes)

    def _block(self, title: str, found: Mapping[str, int] | None, every: int) -> Block:
        ours = None if found is None else {_plain(label): n for label, n in found.items()}
        published = self.paper.values.get(title, {})
        theirs = {_plain(label): n for label, n in published.items()}
        labels = {_plain(label): label for label in (*(found or ()), *published)}
        order = dict.fromkeys((*theirs, *labels))
        rows = (
            Row(labels[key], "arm", (*_ours(ours, key, every), _count(theirs.get(key))))
            for key in order
        )
        return Block(title, tuple(rows))


def _plain(label: str) -> str:
    return re.sub(r"[\s_-]+", " ", label).lower()


def _ours(found: Mapping[str, int] | None, key: str, every: int) -> tuple[Cell, Cell]:
    """The count and its share; dashes if the data set does not count this category."""
    if found is None:
        return Cell(), Cell()
    n = found.get(key, 0)
    return _count(n), Cell(n / every, text=percent(n / every))


def _count(n: int | None) -> Cell:
    return Cell(n, decimals=0)
