"""Some of the examples of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sde_edit.api.dataset import Dataset, DataStatus
from sde_edit.api.example import Example


@dataclass(frozen=True)
class Subset:
    """A data set with chosen ids of another data set, in the given order."""

    whole: Dataset
    chosen: tuple[str, ...]

    def ids(self) -> Sequence[str]:
        return self.chosen

    def load(self, example_id: str) -> Example:
        return self.whole.load(example_id)

    def status(self) -> DataStatus:
        return self.whole.status()

    def digest(self) -> str:
        return self.whole.digest()
