"""COCO in the layout of its archives: annotation files, one caption per image, images.

    <root>/annotations/captions_<split>.json    <root>/<split>/<file_name>

Images without a caption are left out and counted. Files that the annotations name must be on disk
(see `image_pairs`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from sde_edit.errors import UserError
from sde_edit.imaging.files import counted
from sde_edit.imaging.image_pairs import ImagePairs, read_json

Split = Literal["train2014", "val2014", "train2017", "val2017"]


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
    """The content of a caption file.

    files: image id -> name of its file. captions: image id -> its caption, if it has one.
    strays: number of annotations of images that the file does not list.
    """

    files: Mapping[int, str]
    captions: Mapping[int, str]
    strays: int


def read_captions(path: Path) -> Captions:
    """Read a caption file. The caption of an image is its first by annotation id that is not blank.

    Raises UserError naming the file and an entry that cannot be used.
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


def refuse_doubles(path: Path, what: str, ids: Iterable[int]) -> None:
    """Raises UserError if two entries of a file share an id."""
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
class CocoPairs(ImagePairs):
    """Base of the data sets of COCO images. Other settings: see `ImagePairs`.

    root   holds `annotations` and the folder of the split's images
    split  val2017 (5,000 images) or val2014 (40,504); the train splits have the same form
    """

    split: Split = "val2017"

    @property
    def caption_file(self) -> Path:
        return Path(self.root, "annotations", f"captions_{self.split}.json")

    @property
    def annotation_files(self) -> Sequence[Path]:
        return [self.caption_file]

    @property
    def image_folder(self) -> Path:
        return Path(self.root, self.split)

    @property
    def listed_in(self) -> str:
        return " and ".join(file.name for file in self.annotation_files)

    @property
    def layout(self) -> str:
        files = ", ".join(map(str, self.annotation_files))
        return f"{files} and the images in {self.image_folder}"
