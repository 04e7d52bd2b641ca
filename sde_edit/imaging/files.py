"""Finds image files and decodes them upright to RGB or grey.

Letters: H, W height and width in pixels. The EXIF orientation is applied and only the first frame
is used. Colour profiles are not applied, as in the usual metric packages. Every image that the
program reads is opened here: only files of FORMATS, whatever their suffix, are given to a decoder.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from sde_edit.errors import UserError, shown
from sde_edit.imaging.names import composed, is_leftover, is_unicode, key
from sde_edit.store.files import open_regular, read_regular

if TYPE_CHECKING:
    from sde_edit.api.example import Pixels

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")  # as Pillow names them; PPM is PGM too
MOST_PIXELS = 89_478_485  # above it Pillow warns of a file made to fill the memory
Size = tuple[int, int]  # (width, height), as in Pillow
# JPEG tints grey masks by a few levels; an image whose channels differ by more is not a mask.
_TINT = 48
_GREYS = ("1", "L", "LA", "I", "I;16")
_SHOWN = 5  # names that a message lists
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)  # the orientations that swap width and height


@dataclass(frozen=True)
class Embedded:
    """An image that lies in another file: a name for messages, and the content of its own file."""

    name: str
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return self.name


Picture = Path | Embedded


def list_images(folder: Path) -> tuple[list[Path], list[Path]]:
    """(image files, other files) below a folder, sorted by relative path.

    Hidden files, and what file managers and archives leave behind, are other files. Linked files
    count; linked subfolders are not entered. A missing folder counts as empty.
    """
    files = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    files.sort(key=lambda file: composed(file.relative_to(folder).as_posix()))
    images = [file for file in files if _is_image(file.relative_to(folder))]
    taken = set(images)
    return images, [file for file in files if file not in taken]


def _is_image(relative: Path) -> bool:
    return relative.suffix.lower() in SUFFIXES and not any(map(is_leftover, relative.parts))


def name_problems(what: str, ids: Mapping[Path, str], folder: Path) -> list[str]:
    """Messages on names that are not UTF-8, and on files of one id on some file system.

    ids: of each file or folder below `folder`.
    """
    names = {file: file.relative_to(folder).as_posix() for file in ids}
    strange = [name for name in names.values() if not is_unicode(name)]
    times = Counter(key(example_id) for example_id in ids.values())
    doubles = [names[file] for file, example_id in ids.items() if times[key(example_id)] > 1]
    one = "share their name, suffix and capitals apart, with another (rename one)"
    return [
        *counted(f"{what} in {folder} have a name that is not UTF-8 (rename them)", strange),
        *counted(f"{what} in {folder} {one}", doubles),
    ]


def counted(what: str, names: Iterable[str]) -> list[str]:
    """A message such as '7 images have no mask: a; b; c; d; e and 2 more'; [] without names."""
    listed = [shown(name) for name in names]
    if not listed:
        return []
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return [f"{len(listed)} {what}: {'; '.join(listed[:_SHOWN])}{more}"]


@contextmanager
def _opened(file: Picture) -> Iterator[Image.Image]:
    """Open a regular file as a Pillow image. Failures to decode inside the block name the file."""
    opened = io.BytesIO(file.content) if isinstance(file, Embedded) else open_regular(file)
    with opened as content, _decoder(content, shown(str(file))) as image:
        yield image


@contextmanager
def _decoder(content: BinaryIO, name: str) -> Iterator[Image.Image]:
    """Open the content of a file as a Pillow image; see `_opened`."""
    try:
        with Image.open(content, formats=FORMATS) as image:  # noqa: TID251
            _check_pixels(image.size)
            yield image
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise UserError(
            f"{name}: cannot be read as an image (its content is none of {known}). Save it as PNG, "
            "fetch it again, or take it out"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{name}: {_TOO_LARGE}") from error
    except Exception as error:  # decoders raise almost anything for damaged files
        raise UserError(
            f"{name}: cannot be read as an image ({type(error).__name__}: {error}). Fetch it "
            "again, or take it out"
        ) from error


_TOO_LARGE = f"has more than {MOST_PIXELS:,} pixels, which is all that is read. Make it smaller"


def _check_pixels(size: Size) -> None:
    if size[0] * size[1] > MOST_PIXELS:
        raise UserError(_TOO_LARGE)


def read_size(path: Picture) -> Size:
    """(width, height) of the upright image, from the header. Raises UserError naming the file."""
    with _opened(path) as image:
        width, height = image.size
        # Pillow turns a TIFF by itself, and its size is that of the turned image from the start.
        sideways = image.format != "TIFF" and _orientation(image) in _SIDEWAYS
    return (height, width) if sideways else (width, height)


def is_grey(path: Picture) -> bool:
    """Whether the header says that the image is grey. Raises UserError naming the file."""
    with _opened(path) as image:
        return image.mode in _GREYS


def read_rgb(path: Picture, *, transparency: Literal["white", "refuse"] = "white") -> Image.Image:
    """The upright image in mode RGB. Raises UserError naming the file.

    Grey, palette and CMYK images are converted, and 16 bits are rounded to 8. Transparent pixels
    are composited on white or refused; an opaque alpha channel is dropped.
    """
    with _opened(path) as image:
        image.load()
        return _flat(_eight_bit(_upright(image)), transparency)


def read_output(path: Path) -> Image.Image:
    """An image that a run has stored, in mode RGB. Raises UserError naming a file that is none."""
    try:
        content = io.BytesIO(read_regular(path))
        with _decoder(content, str(path)) as image:
            return image.convert("RGB")
    except (FileNotFoundError, UserError) as error:
        raise UserError(
            f"{path} cannot be read as an image. Delete it and give the same `sde-edit run` "
            "command again"
        ) from error


def is_transparent(path: Path) -> bool:
    """Whether a pixel is not opaque. Raises UserError naming the file."""
    with _opened(path) as image:
        return _is_transparent(image)


def read_grey(path: Path) -> Image.Image:
    """A mask file, upright, as a float image (mode F) of values 0 to 255.

    Raises UserError naming the file: unreadable, partly transparent, or coloured.
    """
    pixels = np.asarray(read_rgb(path, transparency="refuse"), dtype=np.float32)
    if float(np.max(pixels.max(axis=-1) - pixels.min(axis=-1))) > _TINT:
        raise UserError(f"{path}: coloured, so not a mask. Is it in the folder of the images?")
    return Image.fromarray(pixels.mean(axis=-1))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1, as it lies, if there is none or the EXIF cannot be parsed."""
    try:
        found = image.getexif().get(_ORIENTATION)
        return found if found in _UPRIGHT else 1
    except Exception:  # noqa: BLE001 - Pillow raises almost anything, and the pixels are good
        return 1


def _upright(image: Image.Image) -> Image.Image:
    """The image without the EXIF, which Pillow's own function would write anew."""
    turn = _UPRIGHT.get(_orientation(image))
    return image.transpose(turn) if turn is not None else image


def _flat(image: Image.Image, transparency: Literal["white", "refuse"]) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    if transparency == "refuse" and _is_transparent(image):
        raise UserError("has transparent pixels, whose meaning is not known. Flatten it")
    layered = image.convert("RGBA")
    white = Image.new("RGBA", layered.size, "white")
    return Image.alpha_composite(white, layered).convert("RGB")


def _is_transparent(image: Image.Image) -> bool:
    if not image.has_transparency_data:
        return False
    lowest, _ = image.convert("RGBA").getchannel("A").getextrema()
    return lowest != 255


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale integer grey of more than 8 bits to 8 bits, which Pillow would clip."""
    if image.mode == "F":
        raise UserError("floating-point pixels have no known range. Save it as 8-bit PNG")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise UserError("32-bit pixels have no known range. Save it as 8-bit PNG")
    rounded = (values.astype(np.uint32) + 128) // 257
    return Image.fromarray(rounded.astype(np.uint8))


def png_bytes(image: Image.Image) -> bytes:
    """The content of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def from_png(content: bytes, *, name: str) -> Image.Image:
    """The image in the content of a PNG file. Raises UserError with the name."""
    with _decoder(io.BytesIO(content), name) as image:
        image.load()
        return image


def to_pixels(image: Image.Image) -> Pixels:
    """An RGB image as a writable copy, uint8 [H, W, 3]."""
    return np.array(image, dtype=np.uint8)
