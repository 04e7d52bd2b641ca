"""Pictures of a report: those of the data set, and thumbnails of what is heavy to load.

What is here is named by a digest of its content, so it is made once and shared by all pages.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sde_edit.imaging.files import png_bytes, read_output
from sde_edit.store.files import short_digest, write_atomic
from sde_edit.store.runs import ImageRecord, Run
from sde_edit.web.report.folder import Folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sde_edit.api.example import Pixels

SIDE = 160  # pixels of the long side of a thumbnail
LIGHT = 32 * 1024  # bytes; a smaller file is its own thumbnail
_QUALITY = 80
_TINT, _OPACITY = (217, 26, 153), 0.45  # of masks
_DIGITS = 16


@dataclass(frozen=True)
class Thumbnail:
    """A thumbnail to be made of an image file."""

    image: Path
    name: str


def keep_image(folder: Folder, pixels: Pixels) -> list[str]:
    """Write an image [H, W, 3] unless it is there; returns its path in the folder and, if it is
    heavy, that of its thumbnail."""
    name = _keep(folder, pixels)
    file = folder.file(_picture(name))
    if file.stat().st_size <= LIGHT:
        return [_picture(name)]
    make_thumbnails(folder, [Thumbnail(file, name)])
    return [_picture(name), _thumbnail(name)]


def keep_mask(folder: Folder, mask: NDArray[np.floating]) -> str:
    """Write a mask [H, W] in [0, 1], 1 = hidden, unless it is there; returns its path in the
    folder. It is a tint, as opaque as the mask hides, to be laid over an image."""
    tint = np.empty((*mask.shape, 4), np.uint8)
    tint[..., :3] = _TINT
    tint[..., 3] = np.rint(mask * _OPACITY * 255)
    return _picture(_keep(folder, tint))


def _keep(folder: Folder, pixels: NDArray[np.uint8]) -> str:
    """Write pixels [H, W, 3 or 4] under a name that follows from them; returns the name."""
    digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    file = folder.file(_picture(digest[:_DIGITS]))
    if not file.exists():
        write_atomic(file, png_bytes(Image.fromarray(pixels)))
    return digest[:_DIGITS]


def _picture(name: str) -> str:
    return f"pictures/{name}.png"


def _thumbnail(name: str) -> str:
    return f"thumbnails/{name}.webp"


def thumbnail_name(record: ImageRecord) -> str | None:
    """The name of the thumbnail of an output; None if the output is light."""
    return None if record.size <= LIGHT else short_digest(record.pixels, _DIGITS)


def thumbnails_of(run: Run, records: Iterable[ImageRecord]) -> Iterator[Thumbnail]:
    """The thumbnails that the outputs of a run need."""
    for record in records:
        name = thumbnail_name(record)
        if name is not None:
            yield Thumbnail(run.output(record), name)


def make_thumbnails(folder: Folder, wanted: Iterable[Thumbnail]) -> None:
    """Write the thumbnails that are not there, on all cores.

    Raises UserError naming a file that is no image.
    """
    files = {folder.file(_thumbnail(one.name)): one.image for one in wanted}
    missing = [(file, image) for file, image in files.items() if not file.exists()]
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda pair: _make(*pair), missing):
            pass  # an error of a thread is raised here


def _make(file: Path, image: Path) -> None:
    small = read_output(image)
    small.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "webp", quality=_QUALITY)
    write_atomic(file, buffer.getvalue())
