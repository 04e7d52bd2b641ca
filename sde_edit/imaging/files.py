"""Finds image files and decodes them upright to RGB or grey.

Letters: H, W height and width in pixels. The EXIF orientation is applied and only the first frame
is used. Colour profiles are not applied, as in the usual metric packages.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageOps

from sde_edit.errors import UserError

if TYPE_CHECKING:
    from sde_edit.api.example import Pixels

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
Size = tuple[int, int]  # (width, height), as in Pillow
# JPEG tints grey masks by a few levels; an image whose channels differ by more is not a mask.
_TINT = 48
_GREYS = ("1", "L", "LA", "I", "I;16")
_SHOWN = 5  # names that a message lists
_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)  # the orientations that swap width and height


def list_images(folder: Path) -> tuple[list[Path], list[Path]]:
    """(image files, other files) below a folder, sorted by relative path, without hidden ones.

    Linked files count; linked subfolders are not entered. A missing folder counts as empty.
    """
    files = [
        Path(parent, name)
        for parent, subfolders, names in os.walk(folder)
        for name in names
        if not _hidden(Path(parent, name).relative_to(folder))
    ]
    files.sort(key=lambda file: file.relative_to(folder).as_posix())
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    return images, [file for file in files if file.suffix.lower() not in SUFFIXES]


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def counted(what: str, names: Iterable[str]) -> list[str]:
    """A message such as '7 images have no mask: a; b; c; d; e and 2 more'; [] without names."""
    listed = list(names)
    if not listed:
        return []
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return [f"{len(listed)} {what}: {'; '.join(listed[:_SHOWN])}{more}"]


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a file as a Pillow image. Failures to decode inside the block name the file."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path}: cannot be read as an image ({error}). Fetch it again, or take it out"
        ) from error


def read_size(path: Path) -> Size:
    """(width, height) of the upright image, from the header. Raises UserError naming the file."""
    with _opened(path) as image:
        width, height = image.size
        sideways = image.getexif().get(_ORIENTATION) in _SIDEWAYS
    return (height, width) if sideways else (width, height)


def is_grey(path: Path) -> bool:
    """Whether the header says that the image is grey. Raises UserError naming the file."""
    with _opened(path) as image:
        return image.mode in _GREYS


def read_rgb(path: Path, *, transparency: Literal["white", "refuse"] = "white") -> Image.Image:
    """The upright image in mode RGB. Raises UserError naming the file.

    Grey, palette and CMYK images are converted, and 16 bits are rounded to 8. Transparent pixels
    are composited on white or refused; an opaque alpha channel is dropped.
    """
    with _opened(path) as image:
        upright = _eight_bit(ImageOps.exif_transpose(image), path)
        return _flat(upright, path, transparency)


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


def _flat(image: Image.Image, path: Path, transparency: Literal["white", "refuse"]) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    if transparency == "refuse" and _is_transparent(image):
        raise UserError(f"{path}: has transparent pixels, whose meaning is not known. Flatten it")
    layered = image.convert("RGBA")
    white = Image.new("RGBA", layered.size, "white")
    return Image.alpha_composite(white, layered).convert("RGB")


def _is_transparent(image: Image.Image) -> bool:
    if not image.has_transparency_data:
        return False
    lowest, _ = image.convert("RGBA").getchannel("A").getextrema()
    return lowest != 255


def _eight_bit(image: Image.Image, path: Path) -> Image.Image:
    """Scale integer grey of more than 8 bits to 8 bits, which Pillow would clip."""
    if image.mode == "F":
        raise UserError(f"{path}: floating-point pixels have no known range. Save it as 8-bit PNG")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.float64)
    if values.min() < 0 or values.max() > 65535:
        raise UserError(f"{path}: 32-bit pixels have no known range. Save it as 8-bit PNG")
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))


def png_bytes(image: Image.Image) -> bytes:
    """The content of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def to_pixels(image: Image.Image) -> Pixels:
    """An RGB image as a writable copy, uint8 [H, W, 3]."""
    return np.array(image, dtype=np.uint8)
