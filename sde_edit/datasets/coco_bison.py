"""COCO images to edit towards the caption of a similar image, as paired by BISON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.errors import UserError
from sde_edit.imaging.coco import Captions, CocoPairs, read_captions, refuse_doubles
from sde_edit.imaging.files import counted
from sde_edit.imaging.image_pairs import Catalogue, Item, read_json
from sde_edit.registry import plugin


@dataclass(frozen=True)
class _Candidate:
    image_id: int


@dataclass(frozen=True)
class _Row:
    """`caption` describes the true image; the other candidate looks similar."""

    bison_id: int
    caption: str
    true_image_id: int
    image_candidates: list[_Candidate]

    def other(self) -> int:
        """The id of the image to edit. Raises ValueError unless it is the only other candidate."""
        ids = [candidate.image_id for candidate in self.image_candidates]
        ids.remove(self.true_image_id)
        (other,) = ids
        if other == self.true_image_id:
            raise ValueError("both candidates are the true image")
        return other


@dataclass(frozen=True)
class _BisonFile:
    data: list[_Row]


@plugin
@dataclass(frozen=True)
class CocoBison(CocoPairs):
    """Hu et al. 2019, used as in App. F.3 of the paper and in DiffEdit. Settings: see `CocoPairs`.

    side   the side that becomes `resolution` with fit=keep: short or long

    caption: the first caption of the image to edit. target: the caption of the row. reference: the
    image that the target describes; it is not the truth of this edit, but belongs to the set that
    FID compares with. An id is `bison-` and the bison_id in six digits. The annotations cover
    val2014; a split with fewer images has fewer rows.
    """

    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = papers.HU2019BISON

    @property
    def bison_file(self) -> Path:
        return Path(self.root, "annotations", "bison_annotations.cocoval2014.json")

    @property
    def annotation_files(self) -> Sequence[Path]:
        return [*super().annotation_files, self.bison_file]

    def catalogue(self) -> Catalogue:
        listed = read_captions(self.caption_file)
        rows = read_json(self.bison_file, _BisonFile).data
        refuse_doubles(self.bison_file, "rows", (row.bison_id for row in rows))
        blank = [_id(row) for row in rows if not row.caption.strip()]
        bare = [_id(row) for row in rows if self._other(row) not in listed.captions]
        lost = [_id(row) for row in rows if row.true_image_id not in listed.files]
        file = self.caption_file.name
        notes = [
            *counted("rows left out, without a target caption", blank),
            *counted(f"rows left out, the image to be edited has no caption in {file}", bare),
            *counted(f"rows left out, the true image is not listed in {file}", lost),
        ]
        left = {*blank, *bare, *lost}
        usable = (row for row in rows if _id(row) not in left)
        return Catalogue({_id(row): self._pair(row, listed) for row in usable}, notes)

    def _pair(self, row: _Row, listed: Captions) -> Item:
        image = self._other(row)
        return Item(
            image=self.image_folder / listed.files[image],
            caption=listed.captions[image],
            target=row.caption.strip(),
            reference=self.image_folder / listed.files[row.true_image_id],
        )

    def _other(self, row: _Row) -> int:
        try:
            return row.other()
        except ValueError as error:
            raise UserError(
                f"{self.bison_file}: the row of bison_id {row.bison_id} must have two candidates, "
                f"one of them the true image {row.true_image_id}"
            ) from error


def _id(row: _Row) -> str:
    return f"bison-{row.bison_id:06d}"
