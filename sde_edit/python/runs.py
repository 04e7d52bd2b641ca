"""Runs from Python: make them, find them, look into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, overload

import numpy as np
from PIL import Image

from sde_edit.api.dataset import Dataset
from sde_edit.api.example import Example
from sde_edit.api.metric import Score
from sde_edit.api.override import override
from sde_edit.api.spec import RunSpec
from sde_edit.commands.choice import choose
from sde_edit.commands.find import find_run
from sde_edit.commands.run import experiments_of, run_all
from sde_edit.config import data_set, results_dir, use_plugins
from sde_edit.errors import UserError
from sde_edit.imaging.files import read_output, to_pixels
from sde_edit.python.frames import frame
from sde_edit.store import runs as store

if TYPE_CHECKING:
    from pandas import DataFrame

    from sde_edit.api.example import Pixels

T = TypeVar("T")
Folder = str | Path


@dataclass(frozen=True, repr=False)
class Lazy(Sequence[T], Generic[T]):
    """A sequence whose items are read when they are asked for, by position or by id."""

    ids: tuple[str, ...]
    read: Callable[[str], T]

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, which: int | str) -> T: ...
    @overload
    def __getitem__(self, which: slice) -> Lazy[T]: ...
    def __getitem__(self, which: int | str | slice) -> T | Lazy[T]:
        """An item, or the part of the sequence that a slice selects. Raises KeyError for an id
        that it does not have."""
        if isinstance(which, slice):
            return Lazy(self.ids[which], self.read)
        if isinstance(which, str):
            if which not in self.ids:
                raise KeyError(which)
            return self.read(which)
        return self.read(self.ids[which])

    def __iter__(self) -> Iterator[T]:
        return map(self.read, self.ids)

    def __repr__(self) -> str:
        return f"<{len(self)} items, read when they are asked for>"


class Run:
    """A run in a results folder, finished or not. Files are read when they are asked for."""

    def __init__(self, stored: store.Run, overrides: Sequence[str] = ()) -> None:
        """overrides: `paths.data=DIR` if its data have moved."""
        self.stored = stored
        self._given = tuple(overrides)

    @property
    def id(self) -> str:
        """The run id: 12 hex digits."""
        return self.stored.id

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.stored.path

    @property
    def spec(self) -> RunSpec:
        """Everything that determines its images: `spec.sampler.name`, `spec.steps`, ..."""
        return self.stored.spec

    @property
    def overrides(self) -> tuple[str, ...]:
        """The overrides that it was made with, the latest time."""
        return self.stored.overrides()

    @property
    def is_finished(self) -> bool:
        """Whether every image that was asked for is there; only then it has scores."""
        return self.stored.seal is not None

    @property
    def scores(self) -> Mapping[str, Score]:
        """Metric -> its score, with `value`, `interval`, `n` and `per_example`; {} if it is not
        finished."""
        return self.stored.scores()

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids of the examples that have an image, in alphabetical order."""
        return tuple(sorted(self.stored.rows()))

    @cached_property
    def images(self) -> Lazy[Pixels]:
        """The edited images, uint8 [H, W, 3], in the order of `ids`."""
        rows = self.stored.rows()
        return Lazy(self.ids, lambda i: to_pixels(read_output(self.stored.output(rows[i]))))

    @cached_property
    def examples(self) -> Lazy[Example]:
        """What the images were made from, in the order of `ids`: `image` uint8 [H, W, 3], `mask`
        float32 [H, W] with 1 = hidden or None, `caption`, `target`, ...

        Raises UserError if the data set is not on this machine.
        """
        return Lazy(self.ids, self._dataset.load)

    @cached_property
    def _dataset(self) -> Dataset:
        return data_set([*self.overrides, *self._given])[1]

    def contact_sheet(self) -> Image.Image:
        """The sheet of its first examples. Raises UserError if none has been drawn."""
        file = self.path / "contact.png"
        if not file.is_file():
            raise UserError(f"{file}: no sheet has been drawn yet; the same run again draws it")
        return read_output(file)

    def to_pandas(self) -> DataFrame:
        """A row per image, by id: every metric with values per image, then its costs, `seconds` and
        `evaluations`. Raises UserError if pandas is not installed."""
        rows = self.stored.rows()
        values = {name: score.per_example for name, score in self.scores.items()}
        records = [
            {
                "id": i,
                **{name: own.get(i, np.nan) for name, own in values.items() if own is not None},
                "seconds": rows[i].seconds,
                "evaluations": rows[i].evaluations,
            }
            for i in self.ids
        ]
        return frame(records, index="id")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        spec, state = self.spec, "finished" if self.is_finished else "begun"
        names = " ".join((spec.task.name, spec.sampler.name, spec.model.name, spec.data.name))
        return f"<Run {self.id}: {names}, {spec.steps} steps, {len(self.ids)} images, {state}>"


# ------------------------------------------------------------------ make and find
def run(
    *overrides: str,
    limit: int | None = None,
    results: Folder | None = None,
    evaluate: bool = True,
) -> list[Run]:
    """Make what is missing of one run, or of every combination of comma-separated values.

    overrides: as on the command line, such as "sampler=ode,sde". limit: the number of examples,
    from the start of the data set; None for all. results: the results folder. evaluate: whether to
    compute the metrics too. Returns the runs in the order of the combinations. Raises UserError, if
    possible before any work, for what cannot be run.
    """
    given = [*overrides, *as_overrides(limit=limit, results=results)]
    use_plugins(given)
    experiments = experiments_of(given)
    made = {one.id: one for one in run_all(experiments, evaluate=evaluate)}
    return [Run(made[store.run_id(one.spec)]) for one in experiments]


def load(name: Folder, *, results: Folder | None = None, data: Folder | None = None) -> Run:
    """The run at a path, or the only one whose id or folder name begins so.

    results: the results folder. data: the folder of the data sets, if they have moved. Raises
    UserError if there is no such run, or more than one.
    """
    where = results_dir(as_overrides(results=results))
    moved = () if data is None else (override("paths.data", str(data)),)
    return Run(find_run(str(name), where), moved)


def runs(*filters: str, results: Folder | None = None) -> list[Run]:
    """The runs of a results folder, by name.

    filters: as of `sde-edit runs`: "task=inpaint", "steps=25,50", "n>=64", "state=finished". A run
    that a damaged file makes unusable is left out, and logged. Raises UserError for a setting that
    no run has.
    """
    chosen = choose([*filters, *as_overrides(results=results)], may_be_none=True)
    return [Run(one.run) for one in chosen.listings]


def stored_run(run: Run | Folder, results: Folder | None) -> store.Run:
    """The stored run of a Run, or of a name as `load` takes it."""
    return (run if isinstance(run, Run) else load(run, results=results)).stored


def as_overrides(*, limit: int | None = None, results: Folder | None = None) -> list[str]:
    """The overrides that these arguments stand for; None for none."""
    given = {"data.limit": limit, "paths.results": None if results is None else str(results)}
    return [override(key, value) for key, value in given.items() if value is not None]
