"""The interface of data sets: ids, examples, and a report on missing files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sde_edit.api.example import Example


@dataclass(frozen=True)
class DataStatus:
    """What `sde-edit data status` reports on a data set.

    found: number of examples on disk. problems: reasons why it cannot be used. remedy: what to do.
    notes: further facts worth knowing.
    """

    found: int
    problems: Sequence[str] = ()
    remedy: str = ""
    notes: Sequence[str] = ()


class Dataset(Protocol):
    """A source of examples. Its dataclass fields are its settings. Only `load` decodes images."""

    # Plug-ins also have `citation: ClassVar[Citation | None]`, the paper that the data come from.

    def ids(self) -> Sequence[str]:
        """All ids in a stable order, without duplicates. Raises UserError if data are missing."""

    def load(self, example_id: str) -> Example:
        """The example of an id. Raises UserError naming a file that cannot be used."""

    def status(self) -> DataStatus:
        """What is found and what is missing. Never raises for missing data."""

    def digest(self) -> str:
        """A digest of the content of the data set, which is part of the run id."""


@runtime_checkable
class HasSizes(Dataset, Protocol):
    """A data set whose images may differ in size."""

    def sizes(self, ids: Sequence[str]) -> Sequence[tuple[int, int]]:
        """(width, height) of the image of each example. Raises UserError naming a file."""


@runtime_checkable
class HasStatistics(Dataset, Protocol):
    """A data set that counts its contents."""

    def statistics(self) -> Mapping[str, Mapping[str, int]]:
        """Category -> label -> number of examples. `images` -> `all` is the number of all examples.

        Raises UserError if data are missing.
        """
