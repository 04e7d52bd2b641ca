"""Tables of results from Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sde_edit.commands.power import power_table
from sde_edit.commands.table import made_table, stored_table
from sde_edit.config import results_dir, use_plugins
from sde_edit.python.frames import frame
from sde_edit.python.runs import Folder, as_overrides
from sde_edit.report.formats import CSV_HEADINGS, csv_rows, markdown
from sde_edit.report.table import Table

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class ResultTable:
    """A table with its intervals and what they rest on. `print` shows it as Markdown."""

    table: Table

    def to_pandas(self) -> DataFrame:
        """A row per cell, with the headings of the CSV file: `metric`, `row`, `column`, `value`,
        `low`, `high`, `n`, `of`, `verdict`, `runs`, ... Raises UserError without pandas.
        """
        return frame([dict(zip(CSV_HEADINGS, row, strict=True)) for row in csv_rows(self.table)])

    def power(self) -> ResultTable:
        """How many examples each comparison needs, as `sde-edit power` shows it.

        Raises UserError for a table that compares nothing, or that is too old to say.
        """
        return ResultTable(power_table(self.table))

    def __str__(self) -> str:
        return markdown(self.table)

    def _repr_markdown_(self) -> str:
        return str(self)


def table(name: str, *overrides: str, results: Folder | None = None) -> ResultTable:
    """The table that is stored in the results folder; else made from finished runs, not stored.

    overrides: choose among the runs, as `dtype=bfloat16` does, or for a table of a data set the
    data set; the table is then always made. Raises UserError if there are no runs, with the command
    that makes them.
    """
    use_plugins(overrides)
    where = as_overrides(results=results)
    stored = None if overrides else stored_table(name, results_dir(where))
    return ResultTable(stored or made_table(name, [*overrides, *where]))
