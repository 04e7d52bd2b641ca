"""Claims of papers from Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sde_edit.commands.claims import judged_claims, warn_of_misfits
from sde_edit.python.frames import frame
from sde_edit.python.runs import Folder, as_overrides
from sde_edit.report.claim_forms import Judged, claims_markdown, flat_records

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Claims:
    """Claims with what the stored tables say of them. `print` shows them as Markdown.

    A claim of `judged` that does not fit its table has its `misfit`, and is not tested here.
    """

    judged: tuple[Judged, ...]

    def to_pandas(self) -> DataFrame:
        """A row for each verdict: `claim`, `source`, `model`, `data`, `verdict`, `comparisons`,
        `effect`, `table`, `remedy`. Raises UserError without pandas.
        """
        return frame(flat_records(self.judged))

    def __str__(self) -> str:
        return claims_markdown(self.judged)

    def _repr_markdown_(self) -> str:
        return str(self)


def claims(*names: str, results: Folder | None = None) -> Claims:
    """What the tables stored in the results folder say of claims; default: of all.

    Logs a warning for a claim that does not fit its table. Raises UserError for an unknown name.
    """
    judged = judged_claims(as_overrides(results=results), names)
    warn_of_misfits(judged)
    return Claims(tuple(judged))
