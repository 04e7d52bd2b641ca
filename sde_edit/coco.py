"""COCO as its archives unpack: annotation files, one caption per image, a seeded order, images.

    <root>/annotations/captions_<split>.json    <root>/<split>/<file_name>

What the annotation files leave without a partner (an image without caption) is no example and is
counted; what they name must be on disk, or is refused by name. So one split, n and seed are the
same examples on every machine.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, TypeVar

from PIL import Image
from pydantic import TypeAdapter, ValidationError

from sde_edit.digests import file_digests
from sde_edit.images import (
    Fit,
    check_size,
    counted,
    fit_to,
    is_grey,
    read_rgb,
    read_size,
    to_pixels,
)
from sde_edit.types import DataStatus, Example, UserError

if TYPE_CHECKING:
    from sde_edit.types import Pixels

Split = Literal["train2014", "val2014", "train2017", "val2017"]

_THREADS = 8
T = TypeVar("T")


# ------------------------------------------------------------------ annotation files


@dataclass(frozen=True)
class _Image:
    id: int
    file_name: str


@dataclass(frozen=True)
class _Annotation:
    id: int
    image_id: int
    caption: str


@dataclass(frozen=True)
class _CaptionFile:
    images: list[_Image]
    annotations: list[_Annotation]


@dataclass(frozen=True)
class Captions:
    """What a caption file says.

    files: image id -> name of its file. captions: image id -> its caption, where it has one.
    strays: how many annotations are of images that the file does not list.
    """

    files: Mapping[int, str]
    captions: Mapping[int, str]
    strays: int


def read_captions(path: Path) -> Captions:
    """An image's caption is its first by annotation id that is not blank, stripped.

    Raises UserError naming the file, and an entry that cannot be used.
    """
    raw = read_json(path, _CaptionFile)
    refuse_doubles(path, "images", (image.id for image in raw.images))
    refuse_doubles(path, "annotations", (annotation.id for annotation in raw.annotations))
    for image in raw.images:
        _check_name(path, image)
    files = {image.id: image.file_name for image in raw.images}
    captions: dict[int, str] = {}
    for annotation in sorted(raw.annotations, key=lambda annotation: annotation.id):
        if annotation.image_id in files and annotation.caption.strip():
            captions.setdefault(annotation.image_id, annotation.caption.strip())
    strays = sum(annotation.image_id not in files for annotation in raw.annotations)
    return Captions(files, captions, strays)


def read_json(path: Path, kind: type[T]) -> T:
    """A file as a dataclass; keys that it does not have are left out. Raises UserError."""
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path}: {where}: {first['msg']}") from error


def refuse_doubles(path: Path, what: str, ids: Iterable[int]) -> None:
    """Raises UserError if two entries of a file have one id."""
    doubles = (str(i) for i, times in Counter(ids).items() if times > 1)
    for problem in counted(f"ids of {what} are there more than once", doubles):
        raise UserError(f"{path}: {problem}")


def _check_name(path: Path, image: _Image) -> None:
    name = image.file_name
    if PurePosixPath(name).name != name or name in ("", "..") or set(name) & {"\\", "\0"}:
        raise UserError(
            f"{path}: file_name {name!r} of image {image.id} must be a plain name, without folders"
        )


# ------------------------------------------------------------------ examples


@dataclass(frozen=True)
class Pair:
    """An example as the annotation files have it; image and reference are ids of images."""

    image: int
    caption: str
    target: str = ""
    reference: int | None = None


@dataclass(frozen=True)
class Offer:
    """pairs: by example id. files: image id -> name of its file. notes: what was left out."""

    pairs: Mapping[str, Pair]
    files: Mapping[int, str]
    notes: Sequence[str]


@dataclass(frozen=True)
class CocoPairs(ABC):
    """Base of the data sets of COCO images.

    root        holds `annotations` and the folder of the split's images
    split       val2017 (5,000 images) or val2014 (40,504); the train splits have the same form
    n           how many examples; null: all
    pairs_seed  of the order they are drawn in: an example's place depends on the seed and its id
                alone, so the first n are the first n of more
    fit         crop: the short side is resized (bicubic, antialiased) and the central square
                taken; exact: images must be resolution x resolution
    source      where the data can be had, for the message that it is missing
    """

    # The digest covers what is in the files and which were chosen.
    root: str = field(metadata={"identity": False})
    resolution: int
    split: Split = "val2017"
    n: int | None = field(default=None, metadata={"identity": False})
    pairs_seed: int = 0
    fit: Fit = "crop"
    source: str = field(default="", metadata={"identity": False})

    def __post_init__(self) -> None:
        if self.resolution < 8:
            raise UserError(f"data.resolution={self.resolution}: must be at least 8 pixels")
        if self.n is not None and self.n < 1:
            raise UserError(f"data.n={self.n}: must be at least 1, or null for all")

    @abstractmethod
    def offer(self) -> Offer:
        """All examples of the annotation files. Raises UserError where those cannot be used."""

    @property
    def caption_file(self) -> Path:
        return Path(self.root, "annotations", f"captions_{self.split}.json")

    @property
    def annotation_files(self) -> Sequence[Path]:
        return [self.caption_file]

    # -- the protocol

    def ids(self) -> Sequence[str]:
        """In the order drawn. Raises UserError for missing files, naming them."""
        return list(self._chosen)

    def load(self, example_id: str) -> Example:
        """image, and reference where there is one: uint8 [R, R, 3], R the resolution."""
        if example_id not in self._chosen:
            raise UserError(f"no example {example_id!r} among the {len(self._chosen)} chosen")
        pair = self._chosen[example_id]
        reference = None if pair.reference is None else self._read(pair.reference)
        return Example(
            id=example_id,
            image=self._read(pair.image),
            caption=pair.caption,
            target=pair.target,
            reference=reference,
        )

    def status(self) -> DataStatus:
        """Reads headers only: a file cut short is found by `load`."""
        try:
            pairs = self._drawn
        except UserError as error:
            return DataStatus(0, [str(error)], self._remedy)
        absent = self._absent(pairs)
        found = sum(not absent & _images([pair]) for pair in pairs.values())
        greys, unusable = self._headers(sorted(_images(pairs.values()) - absent))
        problems = [*self._missing(absent), *counted("images cannot be used", unusable)]
        notes = [*self._offer.notes, *counted("grey images become RGB", greys)]
        return DataStatus(found, problems, self._remedy if problems else "", notes)

    def digest(self) -> str:
        """SHA-256 over the examples in their order: ids, texts, and contents of images."""
        images = sorted(_images(self._chosen.values()))
        contents = dict(zip(images, file_digests(list(map(self._path, images))), strict=True))
        total = hashlib.sha256()
        for example_id, pair in self._chosen.items():
            reference = "" if pair.reference is None else contents[pair.reference]
            said = [example_id, contents[pair.image], pair.caption, pair.target, reference]
            total.update(json.dumps(said).encode())
        return total.hexdigest()

    # -- which examples

    @cached_property
    def _offer(self) -> Offer:
        return self.offer()

    @cached_property
    def _drawn(self) -> dict[str, Pair]:
        """The first n in the seeded order."""
        pairs = self._offer.pairs
        if len(pairs) < (self.n or 1):
            files = " and ".join(file.name for file in self.annotation_files)
            given = f"data.n={self.n}: there are {len(pairs)} examples in {files}"
            advice = ["data.n=null takes all"] if pairs else []
            raise UserError("; ".join([given, *advice, *self._offer.notes]))
        order = sorted(pairs, key=self._place)[: self.n]
        return {example_id: pairs[example_id] for example_id in order}

    def _place(self, example_id: str) -> bytes:
        return hashlib.sha256(f"{self.pairs_seed}\x1f{example_id}".encode()).digest()

    @cached_property
    def _chosen(self) -> dict[str, Pair]:
        try:
            pairs = self._drawn
        except UserError as error:
            raise UserError(f"{error}. {self._remedy}") from error
        for problem in self._missing(self._absent(pairs)):
            raise UserError(f"{problem}. {self._remedy}")
        return pairs

    # -- files

    @property
    def _folder(self) -> Path:
        return Path(self.root, self.split)

    def _path(self, image: int) -> Path:
        return self._folder / self._offer.files[image]

    def _read(self, image: int) -> Pixels:
        path = self._path(image)
        picture = read_rgb(path)
        check_size(path, picture.size, resolution=self.resolution, fit=self.fit)
        return to_pixels(fit_to(picture, self.resolution, Image.Resampling.BICUBIC))

    def _absent(self, pairs: Mapping[str, Pair]) -> set[int]:
        """Images whose file is not there; lists the folder once, for it may be large and remote."""
        there = {file.name for file in self._folder.iterdir()} if self._folder.is_dir() else set()
        return {i for i in _images(pairs.values()) if self._offer.files[i] not in there}

    def _missing(self, absent: set[int]) -> list[str]:
        names = (self._offer.files[image] for image in sorted(absent))
        return counted(f"images are not in {self._folder}", names)

    def _headers(self, images: Sequence[int]) -> tuple[list[str], list[str]]:
        """Names of grey images, and what is wrong with those that cannot be used."""

        def look(image: int) -> tuple[str, str]:
            path = self._path(image)
            try:
                check_size(path, read_size(path), resolution=self.resolution, fit=self.fit)
                return (path.name if is_grey(path) else ""), ""
            except UserError as error:
                return "", str(error)

        with ThreadPoolExecutor(_THREADS) as pool:
            seen = list(pool.map(look, images))
        return [grey for grey, _ in seen if grey], [problem for _, problem in seen if problem]

    @property
    def _remedy(self) -> str:
        files = ", ".join(map(str, self.annotation_files))
        source = f" {self.source}" if self.source else ""
        return f"The data set is {files} and the images in {self._folder}.{source} See docs/data.md"


def _images(pairs: Iterable[Pair]) -> set[int]:
    """Ids of all images that the pairs need."""
    return {i for pair in pairs for i in (pair.image, pair.reference) if i is not None}
