"""What a data set owes: ids, examples, what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sde_edit.api.example import Example


@dataclass(frozen=True)
class DataStatus:
    """What `sde-edit data status` says of a data set: what is there, what is wrong, the remedy.

    notes are worth knowing and no reason to stop.
    """

    found: int
    problems: Sequence[str] = ()
    remedy: str = ""
    notes: Sequence[str] = ()


class Dataset(Protocol):
    """A source of examples. Its dataclass fields are its settings. Only `load` decodes images."""

    # Plug-ins also have `citation: ClassVar[Citation | None]`, the paper that the data come from.

    def ids(self) -> Sequence[str]:
        """Stable order, no duplicates. Raises UserError where the data is missing."""

    def load(self, example_id: str) -> Example:
        """Raises UserError naming the file if it cannot be used."""

    def status(self) -> DataStatus:
        """What is found and what is missing; never raises for missing data."""

    def digest(self) -> str:
        """Identifies the content of the data set; part of the run id."""


@runtime_checkable
class HasStatistics(Dataset, Protocol):
    """A data set that says what it is made of."""

    def statistics(self) -> Mapping[str, Mapping[str, int]]:
        """What is counted, as `category` -> label -> how many examples. Under `images`, `all` are
        all of them. Raises UserError where the data is missing.
        """
