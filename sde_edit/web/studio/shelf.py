"""Photos, masks and edits in <results>/studio, and the tokens by which pages name their files.

photos/<digest>/photo.png         upright, without transparency
photos/<digest>/mask-<digest>.png
edits/<id>/out.png, out-sheet.png; of two samplers out-ode.png, out-sde.png
edits/<id>/edit.json              what was asked for and what came of it
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from sde_edit.errors import UserError
from sde_edit.imaging.files import from_png, is_transparent, png_bytes, read_rgb, read_size
from sde_edit.store.files import short_digest, write_atomic

_LETTERS, _TOKEN_LETTERS = 16, 32  # of a digest in a name, and in a token


class Shelf:
    """The folder, and its files by their tokens. A file that has no token cannot be named."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Path] = {}
        self._previews: dict[str, bytes] = {}
        for file in folder.glob("photos/*/*.png"):
            self.token(file)

    def token(self, file: Path) -> str:
        """What pages call a file. It stays the same when the studio is started again."""
        name = file.relative_to(self._folder).as_posix()
        token = short_digest(name, _TOKEN_LETTERS)
        self._files[token] = file
        return token

    def file(self, token: str) -> Path:
        """Raises UserError for a token that names no file."""
        if token not in self._files or not self._files[token].is_file():
            raise UserError("the studio has no such picture any more: open it again")
        return self._files[token]

    # -- previews, which are not kept on disk

    def keep(self, preview: bytes) -> str:
        """The token of a preview, a PNG."""
        token = hashlib.sha256(preview).hexdigest()[:_TOKEN_LETTERS]
        self._previews[token] = preview
        return token

    def preview(self, token: str) -> bytes | None:
        """The preview that has this token, if it is one."""
        return self._previews.get(token)

    # -- what pages send

    def add_photo(self, content: bytes) -> dict[str, Any]:
        """Keep a photo; its token, size and what the user should know.

        Raises UserError for a file that is none.
        """
        with TemporaryDirectory(prefix="sde-edit-studio-") as folder:
            file = Path(folder) / "photo"
            file.write_bytes(content)
            try:
                image, transparent = read_rgb(file), is_transparent(file)
            except UserError as error:
                reason = str(error).removeprefix(f"{file}: ")
                raise UserError(f"This file {reason}.") from error
        kept = self._folder / "photos" / _digest(content) / "photo.png"
        if not kept.exists():
            write_atomic(kept, _quickly(image))
        notice = "Its transparent pixels have become white." if transparent else ""
        return {"token": self.token(kept), "size": image.size, "notice": notice}

    def photo(self, token: str) -> dict[str, Any]:
        """A photo that is there: its token and size. Raises UserError if it is not."""
        return {"token": token, "size": read_size(self.file(token))}

    def write_mask(self, photo: Path, content: str, folder: Path) -> Path | None:
        """Write a mask, a PNG in base64, into a folder; None if it marks nothing.

        Raises UserError for what is no mask of the photo's size.
        """
        if not content:
            return None
        try:
            png = base64.b64decode(content, validate=True)
        except ValueError as error:
            raise UserError("the mask is no base64") from error
        mask = from_png(png, name="the mask").convert("L")
        if mask.size != (size := read_size(photo)):
            raise UserError(f"the mask is {mask.size}, the photo {size}: they must be of one size")
        if mask.getextrema() == (255, 255):
            raise UserError("The mask covers the whole photo: leave a part that stays.")
        if mask.getextrema() == (0, 0):
            return None
        file = folder / f"mask-{_digest(mask.tobytes())}.png"
        write_atomic(file, png_bytes(mask))
        return file

    # -- edits

    def edit_folder(self, edit_id: str) -> Path:
        return self._folder / "edits" / edit_id

    def record(self, edit_id: str) -> Path:
        return self.edit_folder(edit_id) / "edit.json"

    def records(self) -> Iterator[Path]:
        """The records of all edits, the first the oldest."""
        return iter(sorted(self._folder.glob("edits/*/edit.json")))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_LETTERS]


def _quickly(image: Image.Image) -> bytes:
    """A PNG that is larger than it could be, as packing a large photo well takes seconds."""
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=1)
    return content.getvalue()
