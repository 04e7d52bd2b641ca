"""How many examples the comparisons of a table need."""

from __future__ import annotations

from collections.abc import Sequence

from sde_edit.commands.table import made_table
from sde_edit.errors import UserError
from sde_edit.overrides import keyed
from sde_edit.report.formats import markdown
from sde_edit.report.multiplicity import LEAST, LEVEL
from sde_edit.report.power import POWER, detectable, sample_size
from sde_edit.report.table import (
    MISSING,
    Block,
    Cell,
    Column,
    Row,
    Table,
    format_central,
    with_common_decimals,
)

_COLUMNS = ("comparison", "column", "difference", "n", "n needed", "could be seen")


def describe_power(overrides: Sequence[str]) -> str:
    """Markdown of `power_table`, for `table=NAME` and overrides that choose among runs.

    Raises UserError without a table, for one that compares nothing, and as `made_table`.
    """
    asked = keyed(overrides, "table")
    if len(asked) != 1:
        raise UserError("power looks at one table: sde-edit power table=table2")
    name = asked[0].partition("=")[2]
    return markdown(power_table(made_table(name, [o for o in overrides if o not in asked])))


def power_table(table: Table) -> Table:
    """For each difference the n that would show it with probability `POWER`, and the smallest that
    its n shows, from its variance; two-sided at `LEVEL`, alone, without correction.

    A difference within rounding needs no n. Raises UserError if the table has no differences.
    """
    rows = tuple(
        Row(block.title, "arm", _cells(row.label, column, cell))
        for block, row, column, cell in table.cells()
        if cell.detectable is not None
    )
    if not rows:
        raise UserError(
            f"{table.name} compares no runs of {LEAST} examples or more. It needs a baseline and "
            f"runs to compare with it; if it was written by an earlier version, "
            f"write it again with `sde-edit table {table.name}`"
        )
    note = (
        f"n needed: shows the difference seen so far with probability {POWER:g}, two-sided at "
        f"{LEVEL:g}, alone; the difference is itself uncertain, and so is n. Could be seen: the "
        "smallest difference that the present n shows as surely."
    )
    columns = tuple(Column("", name) for name in _COLUMNS)
    title = f"Power of {table.name}"
    return Table(f"{table.name}-power", title, "metric", columns, (Block("", rows),), (note,))


def _cells(label: str, column: Column, cell: Cell) -> tuple[Cell, ...]:
    value, n, seen = cell.value, cell.n, cell.detectable
    assert value is not None
    assert n is not None
    assert seen is not None
    needed = None if cell.p is None else sample_size(value, seen / detectable(1.0, n))
    difference, smallest = with_common_decimals(
        [Cell(value, cell.low, cell.high), Cell(seen, seen, seen)]
    )
    return (
        Cell(text=label),
        Cell(text=column.heading),
        difference,
        Cell(n, decimals=0),
        Cell(needed, text=MISSING if needed is None else f"{needed:,}"),
        Cell(seen, text=format_central(smallest)),
    )
