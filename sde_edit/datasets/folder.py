"""Your own images: a folder of images and a folder of masks, for example Places365 and MAT's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sde_edit.api.citation import Citation
from sde_edit.api.dataset import DataStatus
from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.imaging.files import (
    Size,
    counted,
    list_images,
    name_problems,
    read_grey,
    read_rgb,
    read_size,
)
from sde_edit.imaging.fit import Fit, Fitting, Frame, Side, unchanged
from sde_edit.imaging.masks import Hole, as_mask
from sde_edit.imaging.names import composed, is_unicode, key, stem
from sde_edit.registry import UNLESS_DEFAULT, Text, plugin
from sde_edit.store.digests import file_digests
from sde_edit.store.files import read_given

if TYPE_CHECKING:
    from sde_edit.api.example import Mask, Pixels

_THREADS = 8


@dataclass(frozen=True)
class _Item:
    image: Path
    mask: Path | None
    caption: str
    hint: Path | None


@dataclass(frozen=True)
class _Files:
    """The contents of the folders. others: names of files that are ignored. hints: of images."""

    images: list[Path]
    masks: list[Path]
    hints: list[Path]
    others: list[str]
    pairs: dict[Path, Path | None]
    hint_of: dict[Path, Path]


@plugin
@dataclass(frozen=True)
class Folder:
    """Images below `images`, masks below `mask_root`/`masks`; mask_root null: no masks.

    masks      the mask set, a subfolder such as small or large; "" if there is only one
    hole       the colour of the hidden region: black (MAT, MI-GAN) or white (DeepFill, SD)
    threshold  pixels above it are hidden, on a scale where 1 is hidden; null keeps soft masks
    resolution, fit
               how pictures are fitted: see `Fitting`
    side       the side that becomes `resolution` with fit=keep: short or long
    pairing    stem: masks have the names of their images; sorted: by position in sorted order
    captions   JSON file {image name with or without suffix: caption}; null: no captions
    hints      folder of pictures for a control net, named like the images; null: none
    source     where to get the data, for the message that they are missing

    An id is an image's path below `images` without suffix, with forward slashes. Masks, hints and
    captions are found by it, whatever their capitals and the form of their accents.
    """

    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = None

    # The location of files is not part of a run's identity; the digest covers their contents.
    images: Text = field(metadata={"identity": False})
    resolution: int | None
    mask_root: Text | None = field(default=None, metadata={"identity": False})
    hole: Hole | None = None
    masks: str = ""
    threshold: float | None = 0.5
    fit: Fit = "exact"
    pairing: Literal["stem", "sorted"] = "stem"
    captions: Text | None = field(default=None, metadata={"identity": False})
    source: str = field(default="", metadata={"identity": False})
    hints: Text | None = field(default=None, metadata={"identity": False})
    side: Side = field(default="short", metadata={"identity": UNLESS_DEFAULT})

    def __post_init__(self) -> None:
        if self.mask_root is not None and self.hole is None:
            raise UserError(
                "data.hole must be given, black or white: which end of a mask is hidden"
            )
        _ = self.fitting  # raises UserError
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise UserError(f"data.threshold={self.threshold}: must be in [0, 1) or null")
        if PurePosixPath(self.masks).is_absolute() or ".." in PurePosixPath(self.masks).parts:
            raise UserError(f"data.masks={self.masks!r}: must be a folder below data.mask_root")

    @property
    def fitting(self) -> Fitting:
        return Fitting(self.resolution, self.fit, self.side)

    # -- the protocol

    def ids(self) -> Sequence[str]:
        """Ids sorted by path. Raises UserError naming missing images, masks or captions."""
        return list(self._items)

    def load(self, example_id: str) -> Example:
        """image = truth: uint8 [H, W, 3]; mask: float32 [H, W] in [0, 1]."""
        if example_id not in self._items:
            raise UserError(f"no example {example_id!r} in {self.images}")
        item = self._items[example_id]
        image = read_rgb(item.image)
        frame = self.fitting.frame(image.size, item.image)
        pixels = frame.pixels(image)
        hidden = self._mask(item.mask, item.image, frame) if item.mask else None
        hint = self._hint(item.hint, item.image, frame) if item.hint else None
        return Example(example_id, pixels, item.caption, hidden, truth=pixels.copy(), hint=hint)

    def sizes(self, ids: Sequence[str]) -> Sequence[Size]:
        """(width, height) of the image of each example, from the headers of the files."""
        return self.fitting.sizes([self._items[example_id].image for example_id in ids])

    def _mask(self, file: Path, image: Path, frame: Frame) -> Mask:
        """The mask of an image: float32 [H, W] in [0, 1]."""
        mask = read_grey(file)
        own = self._frame_of("mask", file, mask.size, image, frame)
        assert self.hole
        hidden = as_mask(own.greys(mask), file=file, hole=self.hole, threshold=self.threshold)
        return own.padded(hidden)

    def _hint(self, file: Path, image: Path, frame: Frame) -> Pixels:
        """uint8 [H, W, 3], fitted like its image unless it has the final size."""
        hint = read_rgb(file)
        return self._frame_of("hint", file, hint.size, image, frame).pixels(hint)

    def status(self) -> DataStatus:
        """Reads headers only; `load` detects truncated files."""
        files = self._files()
        problems = [*self._listing_problems(files), *self._header_problems(files)]
        remedy = self._remedy if problems else ""
        notes = counted(f"other files ignored in {self.images}", files.others)
        return DataStatus(len(files.images), problems, remedy, notes)

    def digest(self) -> str:
        """SHA-256 over ids, contents of images and masks, captions, and contents of hints.

        Each file is hashed once.
        """
        items = list(self._items.items())
        files = [f for _, item in items for f in (item.image, item.mask, item.hint) if f]
        digest = dict(zip(files, file_digests(files), strict=True))
        total = hashlib.sha256()
        for example_id, item in items:
            hint = [digest[item.hint]] if item.hint else []
            mask = digest[item.mask] if item.mask else None
            parts = [example_id, digest[item.image], mask, item.caption, *hint]
            total.update(json.dumps(parts).encode())
        return total.hexdigest()

    # -- pairing of files

    @cached_property
    def _items(self) -> dict[str, _Item]:
        files = self._files()
        problems = self._listing_problems(files)
        if problems:
            raise UserError(f"{'; '.join(problems)}. {self._remedy}")
        captions = self._read_captions() if self.captions else {}
        items = {}
        for image, mask in files.pairs.items():
            caption = self._caption(image, captions) or ""
            items[self._id(image)] = _Item(image, mask, caption, files.hint_of.get(image))
        return items

    def _files(self) -> _Files:
        images, others = list_images(Path(self.images))
        masks = list_images(self._mask_folder)[0] if self.mask_root else []
        hints = list_images(Path(self.hints))[0] if self.hints else []
        hint_of = self._named_like(images, hints, Path(self.hints or ""))
        names = [self._name(file) for file in others]
        return _Files(images, masks, hints, names, self._paired(images, masks), hint_of)

    def _paired(self, images: list[Path], masks: list[Path]) -> dict[Path, Path | None]:
        """Image -> mask, for images that have one; None for all images without a mask_root."""
        if self.mask_root is None:
            return dict.fromkeys(images)
        if self.pairing == "sorted":
            return dict(zip(images, masks, strict=False)) if len(images) == len(masks) else {}
        return dict(self._named_like(images, masks, self._mask_folder))

    def _named_like(self, images: list[Path], files: list[Path], folder: Path) -> dict[Path, Path]:
        """Image -> the file in `folder` of its name, for images that have one."""
        by_key = {key(stem(file, folder)): file for file in files}
        named = [(image, key(self._id(image))) for image in images]
        return {image: by_key[name] for image, name in named if name in by_key}

    @property
    def _mask_folder(self) -> Path:
        return Path(self.mask_root or "", self.masks)

    def _id(self, image: Path) -> str:
        return stem(image, Path(self.images))

    def _name(self, image: Path) -> str:
        return image.relative_to(self.images).as_posix()

    def _caption(self, image: Path, captions: Mapping[str, str]) -> str | None:
        """The caption of an image, under its name or its id, if it has one."""
        return captions.get(key(self._name(image)), captions.get(key(self._id(image))))

    def _read_captions(self) -> dict[str, str]:
        """Key of an image's name -> caption. Raises UserError naming the file."""
        content = read_given(Path(str(self.captions)))
        try:
            pairs = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_Object)
        except (ValueError, RecursionError) as error:
            raise UserError(f"data.captions={self.captions}: cannot be read ({error})") from error
        if isinstance(pairs, _Object) and all(isinstance(text, str) for _, text in pairs):
            return _one_caption_each(pairs, file=str(self.captions))
        raise UserError(
            f"{self.captions}: must be one JSON object, image name -> caption, as in "
            '{"a.jpg": "a red barn"}'
        )

    # -- problems

    @property
    def _remedy(self) -> str:
        masks = f" and masks in {self._mask_folder}" if self.mask_root else ""
        where = f"Put images in {self.images}{masks}"
        source = f" {self.source}" if self.source else ""
        return f"{where}.{source} See docs/data.md; scripts/make_masks.py draws masks"

    def _listing_problems(self, files: _Files) -> list[str]:
        """Missing files and duplicate names, from the listing alone."""
        if not files.images:
            return [_nothing("images", Path(self.images))]
        if self.mask_root and not files.masks:
            return [_nothing("masks", self._mask_folder)]
        return [
            *_name_problems("images", files.images, Path(self.images)),
            *_name_problems("masks", files.masks, self._mask_folder),
            *self._unpaired(files),
            *self._uncaptioned(files.images),
            *self._unhinted(files),
        ]

    def _unpaired(self, files: _Files) -> list[str]:
        if self.mask_root is None:
            return []
        if self.pairing == "stem":
            missing = [self._name(image) for image in files.images if image not in files.pairs]
            return counted(f"images have no mask of their name in {self._mask_folder}", missing)
        if len(files.images) == len(files.masks):
            return []
        counts = f"{len(files.images)} images and {len(files.masks)} masks"
        return [f"{counts}: data.pairing=sorted needs as many of each"]

    def _uncaptioned(self, images: list[Path]) -> list[str]:
        if not self.captions:
            return []
        try:
            captions = self._read_captions()
        except UserError as error:
            return [str(error)]
        bare = [image for image in images if self._caption(image, captions) is None]
        return counted(f"images have no caption in {self.captions}", map(self._name, bare))

    def _unhinted(self, files: _Files) -> list[str]:
        if not self.hints:
            return []
        if not files.hints:
            return [_nothing("hints", Path(self.hints))]
        bare = [self._name(image) for image in files.images if image not in files.hint_of]
        return [
            *_name_problems("hints", files.hints, Path(self.hints)),
            *counted(f"images have no hint of their name in {self.hints}", bare),
        ]

    def _header_problems(self, files: _Files) -> list[str]:
        """Unreadable headers and wrong sizes, without decoding the files."""
        with ThreadPoolExecutor(_THREADS) as pool:
            triples = [(i, m, files.hint_of.get(i)) for i, m in files.pairs.items()]
            found = pool.map(lambda triple: self._header_problem(*triple), triples)
            return counted("pairs cannot be used", [text for text in found if text])

    def _header_problem(self, image: Path, mask: Path | None, hint: Path | None) -> str:
        try:
            image_size = read_size(image)
            frame = self.fitting.frame(image_size, image)
            for what, file in (("mask", mask), ("hint", hint)):
                if file:
                    self._frame_of(what, file, read_size(file), image, frame)
        except UserError as error:
            return str(error)
        return ""

    def _frame_of(self, what: str, file: Path, size: Size, image: Path, frame: Frame) -> Frame:
        """How the mask or hint of an image is fitted: like the image, or not at all if it has the
        final size. Raises UserError if it has neither.
        """
        if size == frame.source:
            return frame
        if size == frame.size:
            return unchanged(size)
        final = "" if frame.size == frame.source else f" or {frame.size[0]}x{frame.size[1]}"
        raise UserError(
            f"{file}: is {size[0]}x{size[1]}, its image {image} is "
            f"{frame.source[0]}x{frame.source[1]}; a {what} must have its image's size{final}"
        )


def _nothing(what: str, folder: Path) -> str:
    return f"no {what} in {folder}" if folder.is_dir() else f"no folder of {what} at {folder}"


def _name_problems(what: str, files: list[Path], folder: Path) -> list[str]:
    return name_problems(what, {file: stem(file, folder) for file in files}, folder)


class _Object(list[tuple[str, Any]]):
    """A JSON object with all its pairs: a dict would keep the last of a name."""


def _one_caption_each(pairs: _Object, *, file: str) -> dict[str, str]:
    """Raises UserError for two captions of one name and for text that cannot be encoded."""
    captions = {key(name): text for name, text in pairs}
    unlike = [name for name, text in pairs if captions[key(name)] != text]
    strange = [name for name, text in pairs if not is_unicode(text)]
    for problem in counted("names have several captions (keep one)", map(composed, unlike)):
        raise UserError(f"{file}: {problem}")
    for problem in counted("captions hold half a character (write them anew)", strange):
        raise UserError(f"{file}: {problem}")
    return captions
