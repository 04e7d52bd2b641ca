"""Examples made of image files without masks: drawn in a seeded order, checked and read.

A data set lists its examples. The examples that are drawn must be on disk, and a missing one is an
error that names it, so the same settings give the same examples on every machine.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from pydantic import TypeAdapter, ValidationError

from sde_edit.api.citation import Citation
from sde_edit.api.dataset import DataStatus
from sde_edit.api.example import Example
from sde_edit.errors import UserError, first_problem
from sde_edit.imaging.files import (
    Embedded,
    Picture,
    Size,
    counted,
    is_grey,
    read_rgb,
    read_size,
)
from sde_edit.imaging.fit import Fit, Fitting, Side
from sde_edit.registry import UNLESS_DEFAULT, Text
from sde_edit.store.digests import file_digests
from sde_edit.store.files import read_given

if TYPE_CHECKING:
    from sde_edit.api.example import Pixels

_THREADS = 8
T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """An example whose images are not yet read."""

    image: Picture
    caption: str
    target: str = ""
    reference: Picture | None = None


@dataclass(frozen=True)
class Catalogue:
    """All examples by id, and notes on what was left out or is worth knowing."""

    items: Mapping[str, Item]
    notes: Sequence[str]


@dataclass(frozen=True)
class ImagePairs(ABC):
    """Base of the data sets of image files that are drawn from a larger set.

    root        the folder of the data
    n           number of examples; null: all
    pairs_seed  seed of the order in which examples are drawn. The place of an example depends only
                on the seed and its id, so a larger n adds examples and changes none
    resolution, fit, side
                how pictures are fitted: see `Fitting`
    source      where to get the data, for the message that they are missing
    """

    citation: ClassVar[Citation | None] = None

    # The digest covers the contents of the files and the choice of examples.
    root: Text = field(metadata={"identity": False})
    resolution: int | None
    n: int | None = field(default=None, metadata={"identity": False})
    pairs_seed: int = 0
    fit: Fit = "crop"
    source: str = field(default="", metadata={"identity": False})
    side: Side = field(default="short", metadata={"identity": UNLESS_DEFAULT})

    def __post_init__(self) -> None:
        _ = self.fitting  # raises UserError
        if self.n is not None and self.n < 1:
            raise UserError(f"data.n={self.n}: must be at least 1, or null for all")

    @property
    def fitting(self) -> Fitting:
        return Fitting(self.resolution, self.fit, self.side)

    # -- what a data set defines

    @abstractmethod
    def catalogue(self) -> Catalogue:
        """All examples of the data set. Raises UserError if its listing cannot be read."""

    @property
    @abstractmethod
    def listed_in(self) -> str:
        """The files that list the examples, as text for messages."""

    @property
    @abstractmethod
    def layout(self) -> str:
        """All files of the data set, as text for messages."""

    # -- the protocol

    def ids(self) -> Sequence[str]:
        """Ids in the order drawn. Raises UserError naming missing files."""
        return list(self._chosen)

    def load(self, example_id: str) -> Example:
        """image, and reference if there is one: uint8 [H, W, 3], each fitted for itself."""
        if example_id not in self._chosen:
            raise UserError(f"no example {example_id!r} among the {len(self._chosen)} chosen")
        item = self._chosen[example_id]
        reference = None if item.reference is None else self._read(item.reference)
        return Example(
            id=example_id,
            image=self._read(item.image),
            caption=item.caption,
            target=item.target,
            reference=reference,
        )

    def sizes(self, ids: Sequence[str]) -> Sequence[Size]:
        """(width, height) of the image of each example, from the headers of the files."""
        return self.fitting.sizes([self._chosen[example_id].image for example_id in ids])

    def status(self) -> DataStatus:
        """Reads headers only; `load` detects truncated files."""
        try:
            items = self._drawn
        except UserError as error:
            return DataStatus(0, [str(error)], self._remedy)
        pictures = _pictures(items.values())
        absent = _absent(pictures)
        found = sum(not absent & _pictures([item]) for item in items.values())
        greys, unusable = self._headers(sorted(pictures - absent, key=str))
        problems = [*_missing(absent), *counted("images cannot be used", unusable)]
        notes = [*self._catalogue.notes, *counted("grey images become RGB", greys)]
        return DataStatus(found, problems, self._remedy if problems else "", notes)

    def digest(self) -> str:
        """SHA-256 over the examples in order: ids, texts, and contents of images."""
        contents = _digests(_pictures(self._chosen.values()))
        total = hashlib.sha256()
        for example_id, item in self._chosen.items():
            reference = "" if item.reference is None else contents[item.reference]
            parts = [example_id, contents[item.image], item.caption, item.target, reference]
            total.update(json.dumps(parts).encode())
        return total.hexdigest()

    # -- choice of examples

    def in_order(self, names: Iterable[str]) -> list[str]:
        """Names in the seeded order; the place of each depends only on the seed and itself."""
        return sorted(names, key=self._place)

    def _place(self, name: str) -> bytes:
        return hashlib.sha256(f"{self.pairs_seed}\x1f{name}".encode()).digest()

    @cached_property
    def _catalogue(self) -> Catalogue:
        return self.catalogue()

    @cached_property
    def _drawn(self) -> dict[str, Item]:
        """The first n in the seeded order."""
        items = self._catalogue.items
        if len(items) < (self.n or 1):
            given = f"data.n={self.n}: " if self.n else ""
            there = f"{given}there are {len(items)} examples in {self.listed_in}"
            advice = ["data.n=null takes all"] if items else []
            raise UserError("; ".join([there, *advice, *self._catalogue.notes]))
        return {example_id: items[example_id] for example_id in self.in_order(items)[: self.n]}

    @cached_property
    def _chosen(self) -> dict[str, Item]:
        try:
            items = self._drawn
        except UserError as error:
            raise UserError(f"{error}. {self._remedy}") from error
        for problem in _missing(_absent(_pictures(items.values()))):
            raise UserError(f"{problem}. {self._remedy}")
        return items

    # -- files

    def _read(self, path: Picture) -> Pixels:
        picture = read_rgb(path)
        return self.fitting.frame(picture.size, path).pixels(picture)

    def _headers(self, paths: Sequence[Picture]) -> tuple[list[str], list[str]]:
        """(names of grey images, problems of images that cannot be used)."""

        def inspect(path: Picture) -> tuple[str, str]:
            try:
                self.fitting.frame(read_size(path), path)
                return (path.name if is_grey(path) else ""), ""
            except UserError as error:
                return "", str(error)

        with ThreadPoolExecutor(_THREADS) as pool:
            found = list(pool.map(inspect, paths))
        return [grey for grey, _ in found if grey], [problem for _, problem in found if problem]

    @property
    def _remedy(self) -> str:
        source = f" {self.source}" if self.source else ""
        return f"The data set is {self.layout}.{source} See docs/data.md"


def read_json(path: Path, kind: type[T]) -> T:
    """Read a JSON file into a dataclass, ignoring unknown keys. Raises UserError."""
    try:
        return TypeAdapter(kind).validate_json(read_given(path), strict=True)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}") from error


def _pictures(items: Iterable[Item]) -> set[Picture]:
    """All images that the items need."""
    return {path for item in items for path in (item.image, item.reference) if path is not None}


def _digests(pictures: Iterable[Picture]) -> dict[Picture, str]:
    """SHA-256 of the content of each."""
    found: dict[Picture, str] = {}
    files = []
    for picture in pictures:
        if isinstance(picture, Embedded):
            found[picture] = hashlib.sha256(picture.content).hexdigest()
        else:
            files.append(picture)
    return found | dict(zip(files, file_digests(files), strict=True))


def _absent(pictures: Collection[Picture]) -> set[Path]:
    """The missing files. Lists each folder once because it may be large and remote."""
    files = {picture for picture in pictures if isinstance(picture, Path)}
    folders = {file.parent for file in files}
    present = {file for folder in folders if folder.is_dir() for file in folder.iterdir()}
    return files - present


def _missing(absent: Collection[Path]) -> list[str]:
    """A message for each folder that lacks images."""
    folders = sorted({file.parent for file in absent})
    return [
        line
        for folder in folders
        for line in counted(
            f"images are not in {folder}",
            (file.name for file in sorted(absent) if file.parent == folder),
        )
    ]
