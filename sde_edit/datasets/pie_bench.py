"""PIE-Bench: 700 images to edit by a prompt, in ten kinds of edit, with masks."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.errors import UserError, first_problem
from sde_edit.imaging.files import Embedded, Picture, read_size
from sde_edit.imaging.image_drags import label_counts
from sde_edit.imaging.image_pairs import Catalogue, ImagePairs, Item, read_json
from sde_edit.imaging.names import is_leftover
from sde_edit.registry import plugin
from sde_edit.store.files import read_given

if TYPE_CHECKING:
    from sde_edit.api.example import Mask

Edit = Literal[
    "any",
    "random",
    "object",
    "add",
    "delete",
    "content",
    "pose",
    "colour",
    "material",
    "background",
    "style",
]
KINDS: tuple[Edit, ...] = get_args(Edit)[1:]  # in the order of the official numbers
_WORD = re.compile(r"[\w-]+")
_SIDE = 512  # of the images that masks are made for
_COLUMNS = ["id", "image", "source_prompt", "target_prompt", "blended_words", "mask"]


@dataclass(frozen=True)
class _Row:
    """kind: its place in KINDS. runs: the mask, as start and length of each run of ones."""

    kind: int
    image: Picture
    source: str
    target: str
    words: str
    runs: Sequence[int]


@plugin
@dataclass(frozen=True)
class PieBench(ImagePairs):
    """Ju et al. 2024. Other settings: see `ImagePairs`.

    root   holds mapping_file.json and annotation_images as published, or the folders of parquet
           files of the hub's UB-CVML-Group/PIE_Bench_pp, such as 0_random_140/*.parquet
    edit   the kind of edit, any: all ten
    side   the side that becomes `resolution` with fit=keep: short or long

    Brackets, which mark what differs, are stripped from prompts. An id is that of the files. mask:
    1 where the edit may change the image, as annotated. words: the blended words that a prompt has.
    """

    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = papers.JU2024PNP

    edit: Edit = "any"

    # -- the files

    @property
    def _mapping_file(self) -> Path:
        return Path(self.root, "mapping_file.json")

    @property
    def _image_folder(self) -> Path:
        return Path(self.root, "annotation_images")

    @cached_property
    def _parquets(self) -> list[Path]:
        """The hub's files, which are read where there is no mapping file."""
        if self._mapping_file.is_file():
            return []
        found = sorted(Path(self.root).rglob("*.parquet"))
        return [file for file in found if not any(map(is_leftover, self._below(file)))]

    def _below(self, file: Path) -> tuple[str, ...]:
        return file.relative_to(self.root).parts

    @property
    def listed_in(self) -> str:
        return self.root if self._parquets else str(self._mapping_file)

    @property
    def layout(self) -> str:
        return (
            f"{self._mapping_file} and the images below {self._image_folder}, or "
            f"{self.root}/0_random_140/*.parquet and so on, as on the hub"
        )

    @cached_property
    def _rows(self) -> dict[str, _Row]:
        """All examples by id. Raises UserError naming a file and what is wrong in it."""
        if self._parquets:
            return _read_parquets({file: self._below(file)[0] for file in self._parquets})
        entries = read_json(self._mapping_file, dict[str, _Entry])
        _refuse_twice(self._mapping_file)
        return {i: self._mapped(i, entry) for i, entry in entries.items()}

    def _mapped(self, example_id: str, entry: _Entry) -> _Row:
        where = f"{self._mapping_file}: {example_id}"
        return _row(
            where,
            _kind(entry.editing_type_id, where),
            self._image_folder / _inside(entry.image_path, where),
            (entry.original_prompt, entry.editing_prompt, entry.blended_word),
            entry.mask,
        )

    # -- the protocol

    def catalogue(self) -> Catalogue:
        rows = {i: row for i, row in self._rows.items() if self.edit in ("any", KINDS[row.kind])}
        items = {i: Item(row.image, row.source, row.target) for i, row in rows.items()}
        numbers = label_counts(KINDS[row.kind] for row in self._rows.values())
        listed = ", ".join(f"{kind} {numbers[kind]}" for kind in KINDS if kind in numbers)
        hub = "texts of PIE-Bench++, whose edits differ from those of published numbers"
        notes = [f"{len(self._rows)} edits: {listed}", *([hub] if self._parquets else [])]
        return Catalogue(items, notes)

    def load(self, example_id: str) -> Example:
        """image: uint8 [H, W, 3]; mask: float32 [H, W] of 0 and 1."""
        example, row = super().load(example_id), self._rows[example_id]
        return replace(example, mask=self._mask(row), words=row.words)

    def digest(self) -> str:
        """SHA-256 over the digest of `ImagePairs`, the words and the masks."""
        rows = [self._rows[example_id] for example_id in self.ids()]
        parts = [super().digest(), [(row.words, list(row.runs)) for row in rows]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def statistics(self) -> Mapping[str, Mapping[str, int]]:
        """Counts of the edits drawn, by kind."""
        kinds = [KINDS[self._rows[example_id].kind] for example_id in self.ids()]
        return {"edit": label_counts(kinds), "images": {"all": len(kinds)}}

    def _mask(self, row: _Row) -> Mask:
        size = read_size(row.image)
        if size != (_SIDE, _SIDE):
            raise UserError(
                f"{row.image}: is {size[0]}x{size[1]}, and its mask is made for {_SIDE}x{_SIDE}. "
                "Take the image of the data set"
            )
        frame = self.fitting.frame(size, row.image)
        white = frame.greys(Image.fromarray(255 * decoded(row.runs)))
        return frame.padded((white > 127.5).astype(np.float32))


def decoded(runs: Sequence[int]) -> Mask:
    """The mask of [start, length, start, length, ...]: float32 [512, 512], row by row.

    A run that is longer than what is left ends with the image.
    """
    flat = np.zeros(_SIDE * _SIDE, np.float32)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        flat[start : start + length] = 1
    return flat.reshape(_SIDE, _SIDE)


# ------------------------------------------------------------------ mapping_file.json
@dataclass(frozen=True)
class _Entry:
    image_path: str
    original_prompt: str
    editing_prompt: str
    editing_type_id: str
    blended_word: str
    mask: list[int]


def _refuse_twice(file: Path) -> None:
    """Raises UserError for an id that the file has more than once; a dict has only the last."""
    pairs: list[tuple[str, object]] = json.loads(read_given(file), object_pairs_hook=list)
    twice = [i for i, times in Counter(i for i, _ in pairs).items() if times > 1]
    if twice:
        raise UserError(f"{file}: {twice[0]} is there more than once")


def _inside(name: str, where: str) -> PurePosixPath:
    """A path below the folder of images. Raises UserError for one that leaves it."""
    path = PurePosixPath(name)
    if path.is_absolute() or not path.name or ".." in path.parts or set(name) & set("\\:\0"):
        raise UserError(f"{where}: image_path {name!r} must be a path below annotation_images")
    return path


# ------------------------------------------------------------------ the hub's parquet files
@dataclass(frozen=True)
class _Content:
    bytes: bytes


@dataclass(frozen=True)
class _HubRow:
    """mask: the numbers of its runs, separated by blanks."""

    id: str
    image: _Content
    source_prompt: str
    target_prompt: str
    blended_words: str
    mask: str


def _read_parquets(folders: Mapping[Path, str]) -> dict[str, _Row]:
    """The rows of all files. folders: the folder that each lies in, which says the kind."""
    rows: dict[str, _Row] = {}
    for file, folder in folders.items():
        kind = _kind(folder.partition("_")[0], f"{file}: its folder {folder!r}")
        for row in _hub_rows(file):
            where = f"{file}: {row.id}"
            if row.id in rows:
                raise UserError(f"{where} is there more than once")
            texts = row.source_prompt, row.target_prompt, row.blended_words
            runs = _numbers(row.mask, where)
            rows[row.id] = _row(where, kind, Embedded(where, row.image.bytes), texts, runs)
    return rows


def _hub_rows(file: Path) -> list[_HubRow]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(pyarrow.BufferReader(read_given(file)))
        if lacking := [name for name in _COLUMNS if name not in table.schema_arrow.names]:
            raise UserError(f"{file}: lacks the columns {', '.join(lacking)}")
        rows = table.read(columns=_COLUMNS).to_pylist()
        return TypeAdapter(list[_HubRow]).validate_python(rows)
    except ValidationError as error:
        raise UserError(f"{file}: {first_problem(error)}") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{file}: is damaged ({error}). Fetch it again") from error


def _numbers(text: str, where: str) -> list[int]:
    words = text.split()
    if not all(word.isdecimal() for word in words):
        raise UserError(f"{where}: mask must be whole numbers, separated by blanks")
    return [int(word) for word in words]


# ------------------------------------------------------------------ rows of both
def _row(
    where: str, kind: int, image: Picture, texts: tuple[str, str, str], runs: Sequence[int]
) -> _Row:
    """texts: prompt, prompt of the edit, blended words. Raises UserError naming `where` for runs
    that are no mask.
    """
    source, target = _bare(texts[0]), _bare(texts[1])
    _check_runs(runs, where)
    return _Row(kind, image, source, target, _words(texts[2], source, target), runs)


def _kind(number: str, where: str) -> int:
    if not (number.isdecimal() and int(number) < len(KINDS)):
        last = len(KINDS) - 1
        raise UserError(f"{where}: the kind of edit must be a number from 0 to {last}")
    return int(number)


def _check_runs(runs: Sequence[int], where: str) -> None:
    starts, lengths = runs[::2], runs[1::2]
    fits = all(0 <= start < _SIDE * _SIDE for start in starts) and all(n >= 0 for n in lengths)
    if len(runs) % 2 or not fits:
        raise UserError(
            f"{where}: mask must be pairs of a start below {_SIDE}x{_SIDE} and a length"
        )


def _bare(prompt: str) -> str:
    """A prompt without the brackets."""
    return prompt.replace("[", "").replace("]", "").strip()


def _words(text: str, *prompts: str) -> str:
    """The words of `cat dog`, or of `["cat,dog", "chair,chair"]`, that a prompt has, each once."""
    known = {word.lower() for prompt in prompts for word in _WORD.findall(prompt)}
    return " ".join(word for word in dict.fromkeys(_WORD.findall(text)) if word.lower() in known)
