"""Data frames of pandas, which is imported only here and only when one is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sde_edit.errors import UserError

if TYPE_CHECKING:
    from pandas import DataFrame


def frame(records: Sequence[Mapping[str, Any]], *, index: str | None = None) -> DataFrame:
    """A row for each record. index: the key that labels the rows; None numbers them.

    Raises UserError if pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise UserError(
            "pandas is not installed: pip install pandas, or pip install 'sde-edit[pandas]'"
        ) from error
    made = pandas.DataFrame.from_records(list(records))
    return made.set_index(index) if index is not None and len(made) else made
