"""Image files of every usual kind, as folders of them are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sde_edit.datasets.folder import Folder
from sde_edit.errors import UserError
from sde_edit.imaging.files import is_transparent
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


def test_folder_refuses_an_image_that_would_fill_the_memory(
    make_folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match=r"a\.png: cannot be read"):
        make_folder().load("a")


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
