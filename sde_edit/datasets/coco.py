"""COCO images with one caption each, in the official files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.imaging.coco import CocoPairs, read_captions
from sde_edit.imaging.files import counted
from sde_edit.imaging.image_pairs import Catalogue, Item
from sde_edit.registry import plugin


@plugin
@dataclass(frozen=True)
class Coco(CocoPairs):
    """Each image has its caption with the lowest annotation id. Settings: see `CocoPairs`.

    side   the side that becomes `resolution` with fit=keep: short or long

    An id is COCO's image id in 12 digits, which is the same in 2014 and 2017.
    """

    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = papers.LIN2014COCO

    def catalogue(self) -> Catalogue:
        listed = read_captions(self.caption_file)
        items = {
            f"{image:012d}": Item(self.image_folder / listed.files[image], text)
            for image, text in listed.captions.items()
        }
        bare = [name for image, name in listed.files.items() if image not in listed.captions]
        notes = counted("images without a caption are left out", bare)
        if listed.strays:
            notes.append(f"{listed.strays} captions of images that the file does not list")
        return Catalogue(items, notes)
