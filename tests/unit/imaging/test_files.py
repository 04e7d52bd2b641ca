"""Image files of every usual kind, as folders of them are read."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sde_edit.datasets.folder import Folder
from sde_edit.errors import UserError
from sde_edit.imaging.files import FORMATS, is_grey, is_transparent, read_rgb, read_size
from tests.builders import box_mask, picture

pytestmark = pytest.mark.usefixtures("own_cache")
SIDE = 32
Make = Callable[..., Folder]
BOX = np.array(box_mask(), np.float32) / 255


def replace_a(image_folder: Path, image: Image.Image, name: str = "a.png", **options: Any) -> None:
    (image_folder / "images" / "a.png").unlink()
    image.save(image_folder / "images" / name, **options)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGB", "LA", "RGBA"])
def test_folder_makes_rgb_of_every_mode(make_folder: Make, image_folder: Path, mode: str) -> None:
    converted = picture().convert(mode)
    replace_a(image_folder, converted, "a.tif")
    image = make_folder().load("a").image
    assert image.shape == (SIDE, SIDE, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.array(converted.convert("RGB")))


def test_folder_rounds_16_bits(make_folder: Make, image_folder: Path) -> None:
    deep = np.linspace(0, 65535, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE)
    replace_a(image_folder, Image.fromarray(deep))
    expected = np.rint(deep / 257).astype(np.uint8)
    np.testing.assert_array_equal(make_folder().load("a").image, np.stack([expected] * 3, axis=-1))


def test_every_value_of_16_bits_is_rounded_to_the_nearest(tmp_path: Path) -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(every).save(tmp_path / "a.png")
    found = np.asarray(read_rgb(tmp_path / "a.png"))
    np.testing.assert_array_equal(found[..., 0], np.rint(every / 257))


def test_folder_composites_transparency_on_white(make_folder: Make, image_folder: Path) -> None:
    image = picture().convert("RGBA")
    image.putalpha(box_mask())
    replace_a(image_folder, image)
    loaded = make_folder().load("a").image
    assert (loaded[BOX == 0] == 255).all()
    np.testing.assert_array_equal(loaded[BOX == 1], np.array(picture())[BOX == 1])


def test_folder_composites_a_transparent_palette_colour(
    make_folder: Make, image_folder: Path
) -> None:
    image = Image.new("P", (SIDE, SIDE), 0)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.paste(1, (0, 0, 8, 16))
    replace_a(image_folder, image, transparency=0)
    loaded = make_folder().load("a").image
    assert (loaded[BOX == 0] == 255).all()
    assert (loaded[BOX == 1] == (200, 10, 10)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_folder_applies_exif_orientation(
    make_folder: Make, image_folder: Path, orientation: int
) -> None:
    """A viewer's picture: what is stored is turned so that the orientation brings it back."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    shown = picture(width=48)
    stored = shown.transpose(undo[orientation]) if orientation > 1 else shown
    exif = Image.Exif()
    exif[0x0112] = orientation
    replace_a(image_folder, stored, exif=exif)
    box_mask(width=48, white=(0, 0, 24, 16)).save(image_folder / "masks" / "a.png")
    data = make_folder(fit="crop")
    np.testing.assert_array_equal(data.load("a").image, np.array(shown)[:, 8:40])
    assert not data.status().problems


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.webp", "a.bmp", "a.TIF"])
def test_folder_reads_the_usual_formats(make_folder: Make, image_folder: Path, name: str) -> None:
    replace_a(image_folder, picture(), name)
    image = make_folder().load("a").image.astype(int)
    assert np.abs(image - np.array(picture())).mean() < 6


@pytest.mark.parametrize("keep", [0, 10, 200, 400])
@pytest.mark.parametrize("folder", ["images", "masks"])
def test_folder_names_a_file_cut_short(
    make_folder: Make, image_folder: Path, folder: str, keep: int
) -> None:
    whole = image_folder / folder / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), np.uint8)).save(whole)
    (image_folder / folder / "a.png").unlink()
    whole.write_bytes(whole.read_bytes()[:keep])
    with pytest.raises(UserError, match=rf"{folder}.a\.jpg: cannot be read as an image"):
        make_folder().load("a")


def test_folder_refuses_floating_point(make_folder: Make, image_folder: Path) -> None:
    replace_a(image_folder, Image.fromarray(np.zeros((SIDE, SIDE), np.float32)), "a.tif")
    with pytest.raises(UserError, match=r"a\.tif: floating-point"):
        make_folder().load("a")


@pytest.mark.parametrize("size", ["9460 9460", "1 89500000", "99999 99999"])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_that_would_fill_the_memory_is_refused_by_its_header(
    tmp_path: Path, size: str
) -> None:
    """The first is just above what is read, the last so large that Pillow itself refuses it."""
    file = tmp_path / "a.pgm"
    file.write_bytes(f"P5 {size} 255\n".encode())
    for read in (read_size, read_rgb, is_grey):
        with pytest.raises(UserError, match=r"a\.pgm: has more than 89,478,485 pixels.*smaller"):
            read(file)
    file.write_bytes(b"P5 9459 9459 255\n")
    assert read_size(file) == (9459, 9459)


# -- what is not an image file


def test_only_the_formats_that_are_named_reach_a_decoder(tmp_path: Path) -> None:
    """PostScript would start Ghostscript; the suffix says nothing about the content."""
    file = tmp_path / "x.png"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")
    with pytest.raises(UserError, match=r"x\.png: cannot be read .* none of JPEG, PNG.*as PNG"):
        read_rgb(file)
    for name in ("GIF", "ICO", "TGA", "DDS", "JPEG2000", "AVIF"):
        picture().save(file, name)
        with pytest.raises(UserError, match=r"x\.png: cannot be read as an image"):
            read_rgb(file)


def test_a_wrong_suffix_does_not_matter(tmp_path: Path) -> None:
    for name in FORMATS:
        picture().save(tmp_path / "x.png", name)
        assert read_size(tmp_path / "x.png") == read_rgb(tmp_path / "x.png").size == (SIDE, SIDE)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere.png")


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(("make", "message"), [
    (_pipe, "is a pipe, socket or device"), (_socket, "is a pipe, socket or device"),
    (_device, "is a pipe, socket or device"), (_loop, "cannot be read"),
    (_dangling, "links to a file that is not there"),
])  # fmt: skip
def test_what_is_no_regular_file_is_named_and_never_waited_for(
    make_folder: Make, image_folder: Path, make: Callable[[Path], None], message: str
) -> None:
    (image_folder / "images" / "a.png").unlink()
    with contextlib.chdir(image_folder / "images"):  # a socket's path must be short
        make(Path("a.png"))
    with pytest.raises(UserError, match=rf"a\.png: {message}"):
        make_folder().load("a")
    assert message in make_folder().status().problems[0]
    with pytest.raises(UserError, match=r"a\.png"):
        make_folder().digest()


def test_a_folder_with_the_name_of_an_image_is_a_folder(
    make_folder: Make, image_folder: Path
) -> None:
    (image_folder / "images" / "c.png").mkdir()
    assert make_folder().ids() == ["a", "b"]
    with pytest.raises(UserError, match=r"c\.png: cannot be read \(Is a directory\)"):
        read_rgb(image_folder / "images" / "c.png")


# -- frames


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_only_the_first_frame_is_read(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
    with Image.open(tmp_path / name) as image:
        assert image.n_frames == 3
    assert read_size(tmp_path / name) == (8, 8)
    assert (np.array(read_rgb(tmp_path / name)) == (255, 0, 0)).all()


# -- EXIF


def _tag(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")


TURNED = _tag(0x0112, 3, 1, b"\x06\0")  # to be turned by 90 degrees


def _exif(*tags: bytes) -> bytes:
    head = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags))
    return head + b"".join(tags) + bytes(4)


# Tags whose values are of another type than their kind promises to Pillow when it writes them.
UNWRITABLE = {
    "a signed byte": _tag(0x0103, 6, 1, b"\xff"),
    "a negative short": _tag(0x0100, 8, 1, b"\xff\xff"),
    "text that is a number": _tag(0x010F, 3, 1, b"\x07\0"),
    "a number that is text": _tag(0x011A, 2, 4, b"abc\0"),
    "the wrong kind of a subfolder": _tag(0x8769, 2, 4, b"abc\0"),
    "a subfolder beyond the end": _tag(0x8769, 4, 1, b"\xff\xff\xff\x7f"),
    "a value beyond the end": _tag(0x010E, 2, 99, b"\xff\xff\xff\x7f"),
    "an unknown kind": _tag(0x010E, 99, 1, b"abc\0"),
}


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("fault", UNWRITABLE)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_exif_that_cannot_be_written_again_does_not_matter(
    tmp_path: Path, name: str, fault: str
) -> None:
    tags = sorted([UNWRITABLE[fault], TURNED], key=lambda tag: tag[0:2][::-1])
    picture(48, 32).save(tmp_path / name, exif=_exif(*tags), lossless=True, quality=95)
    assert read_size(tmp_path / name) == read_rgb(tmp_path / name).size == (32, 48)


@pytest.mark.parametrize("exif", [
    b"Exif\0\0", b"Exif\0\0II", b"Exif\0\0no EXIF at all", b"Exif\0\0II*\0\xff\xff\xff\x7f",
    _exif(_tag(0x0112, 2, 2, b"6\0")), _exif(_tag(0x0112, 3, 1, b"\x09\0")),
    _exif(TURNED)[:-9],
])  # fmt: skip
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_picture_whose_exif_cannot_be_parsed_is_taken_as_it_lies(
    tmp_path: Path, name: str, exif: bytes
) -> None:
    picture(48, 32).save(tmp_path / name, exif=exif, lossless=True, quality=95)
    assert read_size(tmp_path / name) == read_rgb(tmp_path / name).size == (48, 32)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_the_size_from_the_header_is_that_of_the_pixels(
    tmp_path: Path, name: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(48, 32).save(tmp_path / name, exif=exif)
    expected = (48, 32) if orientation < 5 else (32, 48)
    assert read_size(tmp_path / name) == read_rgb(tmp_path / name).size == expected


def test_folder_exact_refuses_another_size(make_folder: Make, image_folder: Path) -> None:
    replace_a(image_folder, picture(40, 32))
    box_mask(40, 32).save(image_folder / "masks" / "a.png")
    with pytest.raises(UserError, match=r"a\.png: is 40x32, not 32x32.*data\.fit=crop"):
        make_folder().load("a")
    assert "is 40x32" in make_folder().status().problems[0]


@pytest.mark.parametrize(
    ("mode", "alpha", "transparent"),
    [("RGB", None, False), ("RGBA", 255, False), ("RGBA", 254, True), ("LA", 0, True)],
)
def test_transparent_is_what_has_a_pixel_that_is_not_opaque(
    tmp_path: Path, mode: str, alpha: int | None, transparent: bool
) -> None:
    image = picture().convert(mode)
    if alpha is not None:
        mask = Image.new("L", image.size, 255)
        mask.putpixel((3, 5), alpha)
        image.putalpha(mask)
    image.save(tmp_path / "a.png")
    assert is_transparent(tmp_path / "a.png") is transparent
