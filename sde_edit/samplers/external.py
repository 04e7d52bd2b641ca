"""Imports images that another program made, so that they are scored beside our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.imaging.files import SUFFIXES, counted, list_images, read_rgb, to_pixels
from sde_edit.imaging.names import key, stem
from sde_edit.registry import Text, plugin
from sde_edit.store.digests import file_digests
from sde_edit.store.files import digest_of_pairs, safe_name

if TYPE_CHECKING:
    from sde_edit.api.example import Pixels


@plugin
@dataclass(frozen=True)
class External:
    """Takes the place of a sampler for images that exist already.

    outputs   folder with an image for each example: `<id>.png`, or another image suffix, in
              sub-folders if the id has slashes; or named as in the outputs of a run; each of
              the size of its example, which may differ from others
    partial   exclude and count examples without an image; otherwise they are an error

    Other files in the folder are ignored. Files are found by listing the folder, so no id can lead
    out of it; a link that leads out of it is refused.
    """

    outputs: Text = field(metadata={"identity": False})  # its digest identifies the content
    partial: bool = field(default=False, metadata={"identity": False})  # digest covers it
    version: ClassVar[int] = 1

    def available(self, ids: Sequence[str], limit: int | None) -> Sequence[str]:
        found = [example_id for example_id in ids if self._file(example_id)]
        if not found:
            raise UserError(
                f"sampler.outputs={self.outputs}: holds no image of any of the {len(ids)} examples"
                f"; {self._expected(ids[0])}"
            )
        missing = [example_id for example_id in ids[:limit] if not self._file(example_id)]
        if missing and not self.partial:
            (names,) = counted(f"of the {len(ids[:limit])} examples have no image", missing)
            raise UserError(
                f"sampler.outputs={self.outputs}: {names}; {self._expected(missing[0])}. "
                "sampler.partial=true leaves them out and counts them"
            )
        return found

    def digest(self, ids: Sequence[str]) -> str:
        """SHA-256 over ids and file contents; paths and suffixes do not matter."""
        files = [self._found(example_id) for example_id in ids]
        return digest_of_pairs(zip(ids, file_digests(files), strict=True))

    def read(self, example: Example) -> Pixels:
        """uint8 [H, W, 3] of the example's size. Raises UserError for unreadable files, other sizes
        and transparent pixels."""
        file = self._found(example.id)
        image = read_rgb(file, transparency="refuse")
        height, width = example.image.shape[:2]
        if image.size != (width, height):
            raise UserError(
                f"{file}: is {image.width}x{image.height}, but example {example.id!r} is "
                f"{width}x{height}. Resize it, or fit the data as it was fitted, by "
                "data.resolution and data.fit: null and keep leave files their sizes"
            )
        return to_pixels(image)

    # -- files

    @cached_property
    def _files(self) -> Mapping[str, Sequence[Path]]:
        """Key of a path below the folder, without suffix -> the image files of that name."""
        root = Path(self.outputs)
        if not root.is_dir():
            raise UserError(f"sampler.outputs={self.outputs}: no such folder")
        files: dict[str, list[Path]] = {}
        for file in list_images(root)[0]:
            files.setdefault(key(stem(file, root)), []).append(file)
        return files

    def _file(self, example_id: str) -> Path | None:
        """An example's file, if any. Raises UserError for two files, or one outside the folder."""
        names = dict.fromkeys(map(key, (example_id, safe_name(example_id))))
        files = [file for name in names for file in self._files.get(name, ())]
        if len(files) > 1:
            several = " and ".join(map(str, files))
            raise UserError(f"{several} are both of example {example_id!r}: take one away")
        if files and not files[0].resolve().is_relative_to(Path(self.outputs).resolve()):
            raise UserError(f"{files[0]}: a link that leads out of the folder. Copy the file there")
        return files[0] if files else None

    def _found(self, example_id: str) -> Path:
        file = self._file(example_id)
        assert file is not None, example_id
        return file

    def _expected(self, example_id: str) -> str:
        names = dict.fromkeys((example_id, safe_name(example_id)))
        places = " or ".join(str(Path(self.outputs, f"{name}.png")) for name in names)
        return f"expected is {places}, or another of {' '.join(SUFFIXES)}"
