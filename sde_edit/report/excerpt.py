"""What of a table goes into a paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sde_edit.errors import UserError
from sde_edit.registry import suggest
from sde_edit.report.table import Block, Row, Table


@dataclass(frozen=True)
class Excerpt:
    """What is shown; of what is left empty, all.

    metrics: titles of blocks, in order. columns: labels, as 25, or groups, as "small masks". arms:
    labels, in order; a difference is shown if both its arms are. intervals: whether they are shown.
    """

    metrics: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()
    intervals: bool = True

    def of(self, table: Table) -> Table:
        """The part of the table. Raises UserError for a name that the table lacks."""
        titles = {block.title: block for block in table.blocks}
        arms = [row.label for block in table.blocks for row in block.rows if row.kind == "arm"]
        _check(table, "metric", self.metrics, list(titles))
        _check(table, "arm", self.arms, arms)
        places = self._places(table)
        asked = [titles[name] for name in self.metrics] or table.blocks
        blocks = [self._block(block, places) for block in asked]
        return replace(
            table,
            columns=tuple(table.columns[i] for i in places),
            blocks=tuple(block for block in blocks if block.rows),
        )

    def _places(self, table: Table) -> Sequence[int]:
        """The indices of the columns."""
        names = [(column.label, column.group, column.heading) for column in table.columns]
        _check(table, "column", self.columns, [name for three in names for name in three if name])
        if not self.columns:
            return range(len(names))
        return [i for i, three in enumerate(names) if {*three} & {*self.columns}]

    def _block(self, block: Block, places: Sequence[int]) -> Block:
        return replace(block, rows=tuple(self._row(row, places) for row in self._rows(block)))

    def _rows(self, block: Block) -> Sequence[Row]:
        """Arms in the order asked for, then the differences of two of them, then published ones."""
        if not self.arms:
            return block.rows
        known = {row.label: row for row in block.rows}
        arms = [known[name] for name in self.arms if name in known]
        runs = {run for row in arms for cell in row.cells for run in cell.runs}
        differences = [row for row in block.rows if row.kind == "difference" and _rests(row, runs)]
        published = [known[f"Paper {name}"] for name in self.arms if f"Paper {name}" in known]
        return [*arms, *differences, *published]

    def _row(self, row: Row, places: Sequence[int]) -> Row:
        cells = [row.cells[i] for i in places]
        if not self.intervals:
            cells = [replace(cell, low=None, high=None) for cell in cells]
        return replace(row, cells=tuple(cells))


EVERYTHING = Excerpt()


def _rests(row: Row, runs: set[str]) -> bool:
    """Whether a row was made of these runs and no others."""
    own = {run for cell in row.cells for run in cell.runs}
    return bool(own) and own <= runs


def _check(table: Table, what: str, asked: Sequence[str], known: Sequence[str]) -> None:
    for name in asked:
        if name not in known:
            raise UserError(
                f"{table.name}: no {what} {name!r}.{suggest(name, list(dict.fromkeys(known)))}"
            )
