"""Damaged image files of every format: pixels, or a UserError that names the file."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sde_edit.errors import UserError
from sde_edit.imaging.files import SUFFIXES, is_grey, read_grey, read_rgb, read_size
from tests.builders import picture

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's; the program silences them too
SAMPLES = 12  # of each kind of file, in every session
MANY = 1000  # by hand


def _saved(mode: str, suffix: str, **options: Any) -> tuple[str, bytes]:
    """(suffix, content) of a file with EXIF, where the format has it."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    given = {} if suffix in (".bmp", ".ppm", ".pgm") else {"exif": exif}
    buffer = io.BytesIO()
    frames = [picture(24, 16, seed).convert(mode) for seed in (2, 3)]
    more = {"append_images": frames[1:]} if options.get("save_all") else {}
    format_of = Image.registered_extensions()[suffix]
    frames[0].save(buffer, format_of, **given, **options, **more)
    return suffix, buffer.getvalue()


@cache
def _files() -> dict[str, tuple[str, bytes]]:
    return {
        "jpeg": _saved("RGB", ".jpg"),
        "jpeg, progressive": _saved("RGB", ".jpeg", progressive=True),
        "jpeg, CMYK": _saved("CMYK", ".jpg"),
        "png": _saved("RGB", ".png"),
        "png, palette": _saved("P", ".png", transparency=3),
        "png, one bit": _saved("1", ".png"),
        "png, 16 bits": _saved("I;16", ".png"),
        "png, animated": _saved("RGBA", ".png", save_all=True),
        "webp": _saved("RGB", ".webp"),
        "webp, lossless": _saved("RGBA", ".webp", lossless=True),
        "webp, animated": _saved("RGB", ".webp", save_all=True),
        "bmp": _saved("RGB", ".bmp"),
        "bmp, palette": _saved("P", ".bmp"),
        "tiff": _saved("RGB", ".tif"),
        "tiff, LZW": _saved("RGB", ".tiff", compression="tiff_lzw"),
        "tiff, JPEG": _saved("RGB", ".tif", compression="jpeg"),
        "tiff, fax": _saved("1", ".tif", compression="group4"),
        "tiff, pages": _saved("L", ".tif", save_all=True),
        "ppm": _saved("RGB", ".ppm"),
        "pgm": _saved("L", ".pgm"),
    }


KINDS = sorted(_files())


def _cut(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content)) :]


def _flip(content: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 8, 64))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _blank(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.choice((1, 4, 32, 10_000)))
    content[start:end] = bytes([rng.choice((0, 255))]) * (end - start)


def _lose(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content))
    del content[start : start + rng.choice((1, 3, 20))]


def _repeat(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content))
    content[start:start] = content[start : start + rng.choice((1, 7, 60))]


def _head(content: bytearray, rng: random.Random) -> None:
    """The header says most, so that it is hit more often."""
    for _ in range(rng.choice((1, 2, 4))):
        content[rng.randrange(min(80, len(content)))] = rng.randrange(256)


DAMAGES: list[Callable[[bytearray, random.Random], None]] = [
    *(_cut, _flip, _blank, _lose, _repeat, _head, _head),
]


def _result(read: Callable[[Path], Any], file: Path) -> Any:
    """What a reader makes of a file; None for a UserError. Fails for any other exception."""
    try:
        return read(file)
    except UserError as error:
        message = str(error)
    assert message.startswith(f"{file}: ")
    assert len(message) < 1000
    return None


def _check(file: Path) -> bool:
    """Whether the pixels could be read."""
    size, image = _result(read_size, file), _result(read_rgb, file)
    _result(is_grey, file)
    mask = _result(read_grey, file)
    if image is None:
        assert mask is None
        return False
    assert image.mode == "RGB"
    assert image.size == size
    assert mask is None or mask.size == size
    return True


def _check_damages(kind: str, folder: Path, count: int) -> int:
    """Number of damaged files that still have pixels."""
    suffix, whole = _files()[kind]
    rng, read = random.Random(kind), 0
    for _ in range(count):
        content = bytearray(whole)
        for damage in rng.choices(DAMAGES, k=rng.choice((1, 1, 1, 2))):
            if content:
                damage(content, rng)
        wrong = rng.choice(SUFFIXES) if rng.random() < 0.2 else suffix
        file = folder / f"x{wrong}"
        file.write_bytes(content)
        read += _check(file)
        file.unlink()
    return read


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_is_read_under_any_suffix(tmp_path: Path, kind: str) -> None:
    for suffix in SUFFIXES:
        file = tmp_path / f"x{suffix}"
        file.write_bytes(_files()[kind][1])
        assert _check(file)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"\0", bytes(64), b"\xff" * 64, b"<html>\n"])
def test_what_is_no_image_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"x{suffix}"
    file.write_bytes(content)
    assert not _check(file)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_has_pixels_or_is_named(tmp_path: Path, kind: str) -> None:
    assert _check_damages(kind, tmp_path, SAMPLES) < SAMPLES


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", KINDS)
def test_every_damaged_file_has_pixels_or_is_named(tmp_path: Path, kind: str) -> None:
    assert 0 < _check_damages(kind, tmp_path, MANY) < MANY
