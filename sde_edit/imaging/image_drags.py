"""Examples of image dragging: folders with an image, pairs of points, a prompt and maybe a mask.

    <root>/<category>/<item>/{image, points and prompt, mask.png}

Points are (x, y) in pixels of the image file, x to the right and y down; they are scaled and
cropped with the image. A mask is white where the image may change. Files have fixed names: no path
comes from the content of a file.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from PIL import Image

from sde_edit.api.dataset import DataStatus
from sde_edit.api.example import Drag, Example
from sde_edit.errors import UserError
from sde_edit.imaging.files import Size, counted, name_problems, read_grey, read_size
from sde_edit.imaging.fit import Frame
from sde_edit.imaging.image_pairs import Catalogue, ImagePairs, Item
from sde_edit.imaging.names import composed, is_leftover
from sde_edit.store.digests import file_digests

if TYPE_CHECKING:
    from sde_edit.api.example import Mask, Point


@dataclass(frozen=True)
class Instruction:
    """The drags of an image, with points in pixels of its file."""

    prompt: str
    sources: Sequence[Point]
    targets: Sequence[Point]


@dataclass(frozen=True)
class _Item:
    """drags: in pixels of the loaded image. mask: its file, or None if everything may change."""

    image: Path
    prompt: str
    drags: tuple[Drag, ...]
    mask: Path | None
    target_kept: bool  # whether a target lies outside the mask, which keeps its pixels


@dataclass(frozen=True)
class _Items:
    """By id: good items, why others cannot be dragged, and which point others lose by cropping.

    ignored: names of folders that are no items. images: of all items.
    """

    ignored: list[str] = field(default_factory=list)
    images: dict[str, Path] = field(default_factory=dict)
    good: dict[str, _Item] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    cropped: dict[str, str] = field(default_factory=dict)


class _CutOffError(UserError):
    """A point lies outside the square that is cropped from the image."""


@dataclass(frozen=True)
class ImageDrags(ImagePairs):
    """Base of the data sets of image dragging. Settings: see `ImagePairs`.

    An item that cannot be dragged raises an error that names it. An item that loses a point by
    `fit: crop` is left out and counted. An id is the path of the item's folder below root.
    """

    image_name: ClassVar[str]
    instruction_names: ClassVar[Sequence[str]]  # the first that exists is read

    @abstractmethod
    def read_instruction(self, file: Path) -> Instruction:
        """Read the drags of an item. Raises UserError naming the file."""

    def mask_file(self, folder: Path) -> Path | None:
        """The mask of an item, if it has one."""
        return file if (file := folder / "mask.png").is_file() else None

    def read_mask(self, file: Path) -> Image.Image:
        """The mask in mode F, 0 to 255, as large as the image. Raises UserError naming the file."""
        return read_grey(file)

    # -- the protocol

    @property
    def listed_in(self) -> str:
        return self.root

    @property
    def layout(self) -> str:
        instruction = " or ".join(self.instruction_names)
        return (
            f"{self.root}/CATEGORY/ITEM with {self.image_name}, {instruction}, and mask.png if any"
        )

    def catalogue(self) -> Catalogue:
        pairs = {name: Item(item.image, item.prompt) for name, item in self._items.good.items()}
        for name in self._items.faults:
            pairs[name] = Item(self._items.images[name], "")
        return Catalogue(pairs, self._notes())

    def ids(self) -> Sequence[str]:
        """Ids in the order drawn. Raises UserError naming items that cannot be used."""
        ids, faults = super().ids(), self._items.faults
        for problem in counted("items cannot be dragged", (faults[i] for i in ids if i in faults)):
            raise UserError(f"{problem}. {self._remedy}")
        return ids

    def load(self, example_id: str) -> Example:
        """image: uint8 [H, W, 3]; mask: float32 [H, W] of 0 and 1, 1 = may change, or None."""
        if reason := {**self._items.faults, **self._items.cropped}.get(example_id):
            raise UserError(reason)
        example, item = super().load(example_id), self._items.good[example_id]
        mask = self._mask(item.mask, self._frame(item.image)) if item.mask else None
        return replace(example, mask=mask, drags=item.drags)

    def status(self) -> DataStatus:
        """Reads the points and masks of all items and the headers of images."""
        status = super().status()
        try:
            faults = self._items.faults
        except UserError:  # it is among the problems
            return status
        seen: Collection[str] = self._drawn if status.found else faults
        wrong = [fault for name, fault in faults.items() if name in seen]
        problems = [*status.problems, *counted("items cannot be dragged", wrong)]
        found = sum(name in self._items.good for name in seen)
        return DataStatus(found, problems, self._remedy if problems else "", status.notes)

    def digest(self) -> str:
        """SHA-256 over the digest of `ImagePairs`, the points and the masks."""
        items = [self._items.good[example_id] for example_id in self.ids()]
        files = sorted({item.mask for item in items if item.mask})
        contents: Mapping[Path | None, str] = dict(zip(files, file_digests(files), strict=True))
        points = [[(*d.source, *d.target) for d in item.drags] for item in items]
        parts = [super().digest(), points, [contents.get(item.mask, "") for item in items]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def statistics(self) -> Mapping[str, Mapping[str, int]]:
        """Counts of the items drawn.

        category: the folder below root, unless folders are numbered, as in the paper's own data.
        """
        ids = self.ids()
        items = [self._items.good[example_id] for example_id in ids]
        tops = [example_id.split("/")[0] for example_id in ids if "/" in example_id]
        named = any(not top.isdecimal() for top in tops)
        return {
            **({"category": label_counts(tops)} if named else {}),
            "pairs of points": label_counts(str(len(item.drags)) for item in items),
            "images": {
                "all": len(items),
                "with a mask": sum(item.mask is not None for item in items),
            },
        }

    # -- items

    @cached_property
    def _items(self) -> _Items:
        found = _Items()
        ids = {folder: self._id(folder) for folder in self._folders()}
        for folder in [folder for folder in ids if any(map(is_leftover, ids[folder].split("/")))]:
            found.ignored.append(ids.pop(folder))
        for problem in name_problems("items", ids, Path(self.root)):
            raise UserError(problem)
        for folder, name in ids.items():
            found.images[name] = folder / self.image_name
            try:
                found.good[name] = self._item(folder)
            except _CutOffError as error:
                found.cropped[name] = str(error)
            except UserError as error:
                found.faults[name] = str(error)
        return found

    def _id(self, folder: Path) -> str:
        return composed(folder.relative_to(self.root).as_posix())

    def _folders(self) -> Iterator[Path]:
        """Folders below root that hold a file of an item, in order. Links are not followed."""
        wanted = {self.image_name, *self.instruction_names}
        for parent, folders, names in os.walk(self.root):
            folders.sort()
            if wanted & set(names) and Path(parent) != Path(self.root):
                yield Path(parent)

    def _item(self, folder: Path) -> _Item:
        """The item in a folder. Raises UserError naming the problem."""
        image, file = folder / self.image_name, self._instruction_file(folder)
        frame, asked = self._frame(image), self.read_instruction(file)
        _check_points(file, asked, frame.source)
        pairs = zip(asked.sources, asked.targets, strict=True)
        drags = tuple(Drag(frame.point(a), frame.point(b)) for a, b in pairs)
        if not all(frame.holds(point) for drag in drags for point in (drag.source, drag.target)):
            raise _CutOffError(f"{folder}: a point lies outside the central square that is taken")
        mask_file = self.mask_file(folder)
        mask = self._mask(mask_file, frame) if mask_file else None
        if mask is None:
            return _Item(image, asked.prompt, drags, mask=None, target_kept=False)
        if not all(_white(mask, drag.source) for drag in drags):
            raise UserError(f"{mask_file}: a source point lies outside the white, where all stays")
        target_kept = not all(_white(mask, drag.target) for drag in drags)
        return _Item(image, asked.prompt, drags, mask_file, target_kept)

    def _instruction_file(self, folder: Path) -> Path:
        files = [folder / name for name in self.instruction_names]
        return next((file for file in files if file.is_file()), files[0])

    def _frame(self, image: Path) -> Frame:
        return self.fitting.frame(read_size(image), image)

    def _mask(self, file: Path, frame: Frame) -> Mask | None:
        """float32 [H, W] of 0 and 1; None if all is white. Raises UserError naming the file."""
        mask, size = self.read_mask(file), frame.source
        if mask.size != size:
            raise UserError(
                f"{file}: the mask is {mask.size[0]}x{mask.size[1]}, and its image is "
                f"{size[0]}x{size[1]}"
            )
        white = (frame.greys(mask) > 127.5).astype(np.float32)
        return None if white.all() else frame.padded(white)

    def _notes(self) -> list[str]:
        good = self._items.good
        tops = Counter(name.split("/")[0] for name in good if "/" in name)
        by_category = ", ".join(f"{category} {n}" for category, n in sorted(tops.items()))
        masked = sum(item.mask is not None for item in good.values())
        kept = [name for name, item in good.items() if item.target_kept]
        still = [i for i, item in good.items() if any(d.source == d.target for d in item.drags)]
        return [
            f"{len(good)} items in {len(tops)} folders: {by_category}; {masked} with a mask",
            *counted("folders ignored, hidden or left behind", self._items.ignored),
            *counted("items left out, as data.fit=crop cuts off a point", self._items.cropped),
            *counted("items hold a point still (source and target are one)", still),
            *counted("items have a target that the mask keeps", kept),
        ]


def label_counts(labels: Iterable[str]) -> dict[str, int]:
    """Label -> number of occurrences, sorted by label."""
    return dict(sorted(Counter(labels).items()))


def _check_points(file: Path, asked: Instruction, size: Size) -> None:
    """Raises UserError unless the points describe a drag within the image."""
    pairs = list(zip(asked.sources, asked.targets, strict=False))
    if len(asked.sources) != len(asked.targets) or not pairs:
        counts = f"{len(asked.sources)} source and {len(asked.targets)} target points"
        raise UserError(f"{file}: {counts}; there must be as many of each, and at least one")
    for point in (*asked.sources, *asked.targets):
        if not _inside(point, size):
            raise UserError(f"{file}: point {point} lies outside the image, {size[0]}x{size[1]}")
    if all(source == target for source, target in pairs):
        raise UserError(f"{file}: source and target are one, so nothing is to move")


def _inside(point: Point, size: Size) -> bool:
    return 0 <= point[0] < size[0] and 0 <= point[1] < size[1]


def _white(mask: Mask, point: Point) -> bool:
    return bool(mask[int(point[1]), int(point[0])] > 0)
