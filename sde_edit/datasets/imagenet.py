"""ImageNet (ILSVRC2012): images of one class to translate into another class."""

from __future__ import annotations

import difflib
import re
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.errors import UserError
from sde_edit.imaging.files import counted, list_images, name_problems
from sde_edit.imaging.image_pairs import Catalogue, ImagePairs, Item
from sde_edit.imaging.names import composed
from sde_edit.registry import plugin
from sde_edit.store.files import read_given

if TYPE_CHECKING:
    from timm.data import ImageNetInfo

_WNID = re.compile(r"n\d{8}")
_VALIDATION_FILE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
_LABELLED_FILE = {
    "train": re.compile(r"(n\d{8}_\d+)_n\d{8}\.JPEG"),
    "val": re.compile(r"(ILSVRC2012_val_\d{8})_n\d{8}\.JPEG"),
}


@plugin
@dataclass(frozen=True)
class ImageNet(ImagePairs):
    """DDIB's translations (Su et al. 2022; App. F.2 of the paper). Other settings: `ImagePairs`.

    root   holds <split>/<wnid>/*.JPEG, or <wnid>/*.JPEG, or files of all classes whose names end in
           their class, as <split>/n02129165_10026_n02129165.JPEG; for the validation set also the
           official val/ILSVRC2012_val_*.JPEG beside ILSVRC2012_devkit_t12/data, which lists their
           classes
    split  train (732 to 1,300 images of a class) or val (50); if there is no folder of that name,
           root itself must hold the folders of the classes
    pair   SOURCE-TARGET: the wnids of the class in the image and of the class to translate into
    side   the side that becomes `resolution` with fit=keep: short or long

    caption and target are wnid and first name, such as "n02129165 lion". The reference of the i-th
    source image is the i-th target image, both in seeded order; if the target class has fewer
    images, they repeat. An id is the name of the source image's file without suffix, and without
    the class that names in a folder of all classes end in.
    """

    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = papers.RUSSAKOVSKY2015IMAGENET

    split: Literal["train", "val"] = "train"
    pair: str = "n02129165-n02129604"

    def __post_init__(self) -> None:
        super().__post_init__()
        wnids = self.pair.split("-")
        if len(wnids) != 2 or not all(map(_WNID.fullmatch, wnids)):
            raise UserError(
                f"data.pair={self.pair!r}: must be two wnids, SOURCE-TARGET, as in "
                f"n02129165-n02129604.{_wnids_hint(wnids)}"
            )
        if wnids[0] == wnids[1]:
            raise UserError(f"data.pair={self.pair}: source and target are the same class")

    def catalogue(self) -> Catalogue:
        source, target = self.pair.split("-")
        caption, goal = self._label(source), self._label(target)
        images, goals = self._images(source), self._images(target)
        references = self.in_order(goals)
        items = {
            name: Item(images[name], caption, goal, goals[references[i % len(references)]])
            for i, name in enumerate(self.in_order(images))
        }
        drawn = len(items) if self.n is None else min(self.n, len(items))
        notes = [f"{len(images)} images of {caption}", _references_note(drawn, len(goals), goal)]
        return Catalogue(items, notes)

    @property
    def listed_in(self) -> str:
        return str(self._folder / self.pair.split("-")[0])

    @property
    def layout(self) -> str:
        classes = " and ".join(self.pair.split("-"))
        folder = Path(self.root, self.split)
        official = f", or {folder}/ILSVRC2012_val_*.JPEG and {self._devkit} with its two files"
        flat = f", or {folder}/*_WNID.JPEG{official if self.split == 'val' else ''}"
        return f"{folder}/WNID/*.JPEG for {classes}{flat}"

    def _label(self, wnid: str) -> str:
        """wnid and first name. Raises UserError for an unknown wnid."""
        try:
            return f"{wnid} {_names(wnid)[0]}"
        except KeyError:
            near = _nearest(wnid)
            raise UserError(
                f"data.pair={self.pair}: {wnid} is no class of ImageNet. The nearest number is "
                f"{near}"
            ) from None

    # -- files

    @property
    def _folder(self) -> Path:
        folder = Path(self.root, self.split)
        return folder if folder.is_dir() else Path(self.root)

    def _looked_in(self, wnid: str) -> str:
        places = dict.fromkeys([Path(self.root, self.split), self._folder])
        return " or ".join(str(place / wnid) for place in places)

    @property
    def _devkit(self) -> Path:
        return Path(self.root, "ILSVRC2012_devkit_t12", "data")

    def _images(self, wnid: str) -> dict[str, Path]:
        """Images of a class by id. Raises UserError if there are none, or two of one id."""
        folder = self._folder / wnid
        if folder.is_dir():
            ids = {file: composed(file.stem) for file in list_images(folder)[0]}
        else:
            folder = self._folder
            ids = self._labelled(wnid) | self._official(wnid)
        if not ids:
            raise UserError(f"no images of {self._label(wnid)} in {self._looked_in(wnid)}")
        for problem in name_problems("images", ids, folder):
            raise UserError(problem)
        return {example_id: file for file, example_id in ids.items()}

    def _labelled(self, wnid: str) -> dict[Path, str]:
        """Images of a class in a folder of all classes, by the ends of their names -> ids."""
        files = sorted(self._folder.glob(f"*_{wnid}.JPEG"))
        matches = ((file, _LABELLED_FILE[self.split].fullmatch(file.name)) for file in files)
        return {file: match[1] for file, match in matches if match}

    def _official(self, wnid: str) -> dict[Path, str]:
        """Images of a class in the official flat validation set -> ids."""
        files = self._folder.glob("*.JPEG") if self.split == "val" else ()
        numbered = {
            int(match[1]): file
            for file in files
            if (match := _VALIDATION_FILE.fullmatch(file.name))
        }
        if not numbered:
            return {}
        wnids = validation_wnids(self._devkit)
        strange = (file.name for i, file in numbered.items() if not 1 <= i <= len(wnids))
        for problem in counted(f"images whose class {self._devkit} does not say", strange):
            raise UserError(problem)
        return {file: file.stem for i, file in sorted(numbered.items()) if wnids[i - 1] == wnid}


def _references_note(drawn: int, available: int, label: str) -> str:
    again = ", some of them more than once" if drawn > available else ""
    return f"references: {min(drawn, available)} of {available} images of {label}{again}"


# ------------------------------------------------------------------ the development kit
def validation_wnids(devkit: Path) -> list[str]:
    """The wnids of the validation images, in order of their numbers. Raises UserError."""
    ground_truth = devkit / "ILSVRC2012_validation_ground_truth.txt"
    wnid_of = _wnids_by_number(devkit / "meta.mat")
    try:
        return [wnid_of[int(line)] for line in read_given(ground_truth).split()]
    except (UserError, ValueError, KeyError) as error:
        raise _unusable(ground_truth, error) from error


def _wnids_by_number(path: Path) -> dict[int, str]:
    """ILSVRC2012_ID -> wnid."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    broken = (OSError, ValueError, TypeError, LookupError, NotImplementedError, MatReadError)
    try:
        synsets: Any = loadmat(BytesIO(read_given(path)), squeeze_me=True)["synsets"]
        numbers, wnids = (np.atleast_1d(synsets[key]) for key in ("ILSVRC2012_ID", "WNID"))
        return {int(i): str(wnid) for i, wnid in zip(numbers, wnids, strict=True)}
    except (UserError, *broken, zlib.error) as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> UserError:
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return UserError(
        f"{path}: cannot be used ({reason}). It comes from "
        "ILSVRC2012_devkit_t12.tar.gz, which lists the classes of the images of val"
    )


# ------------------------------------------------------------------ names
@cache
def _info() -> ImageNetInfo:
    """All 21,841 classes of ImageNet; the 1,000 of ILSVRC2012 are among them."""
    from timm.data import ImageNetInfo

    return ImageNetInfo("imagenet-22k")


def _names(wnid: str) -> list[str]:
    """Names such as ["lion", "king of beasts", "Panthera leo"]. Raises KeyError if unknown."""
    return str(_info().label_name_to_description(wnid)).split(", ")


def _wnids_hint(words: Collection[str]) -> str:
    """A hint for words that are names of classes, as " 'crane' is n02012849 or n03126707."."""
    known = {word: _wnids_named(word) for word in words if not _WNID.fullmatch(word)}
    hints = [f" {word!r} is {' or '.join(wnids)}." for word, wnids in known.items() if wnids]
    return "".join(hints)


def _nearest(wnid: str) -> str:
    """The nearest class to an unknown wnid, such as "n02129604 tiger"."""
    (near,) = difflib.get_close_matches(wnid, _info().label_names(), n=1, cutoff=0.0)
    return f"{near} {_names(near)[0]}"


def _wnids_named(word: str) -> Sequence[str]:
    name = word.strip().replace("_", " ").lower()
    wnids = map(str, _info().label_names())
    return [wnid for wnid in wnids if name in (n.lower() for n in _names(wnid))]
