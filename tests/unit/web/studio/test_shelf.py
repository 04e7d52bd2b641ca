"""Photos and masks as they are kept, and what is refused."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from sde_edit.errors import UserError
from sde_edit.imaging.files import read_grey, read_rgb
from sde_edit.web.studio.shelf import Shelf
from tests.builders import box_mask, picture


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def in_base64(image: Image.Image) -> str:
    return base64.b64encode(encoded(image)).decode()


@pytest.fixture
def shelf(tmp_path) -> Shelf:
    return Shelf(tmp_path)


def test_a_photo_is_kept_upright_and_named_by_its_content(shelf, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    content = encoded(picture(40, 20), "JPEG", exif=exif)
    photo = shelf.add_photo(content)
    assert photo["size"] == (20, 40)
    assert shelf.add_photo(content) == photo
    assert read_rgb(shelf.file(photo["token"])).size == (20, 40)
    assert Shelf(tmp_path).photo(photo["token"]) == {"token": photo["token"], "size": (20, 40)}


def test_transparent_pixels_become_white_and_that_is_said(shelf):
    photo = shelf.add_photo(encoded(Image.new("RGBA", (8, 8))))
    assert photo["notice"] == "Its transparent pixels have become white."
    assert read_rgb(shelf.file(photo["token"])).getpixel((0, 0)) == (255, 255, 255)
    assert not shelf.add_photo(encoded(picture()))["notice"]


@pytest.mark.parametrize("content", [b"", b"text", encoded(picture())[:60], b"GIF89a" + b"0" * 99])
def test_what_is_no_photo_is_refused_without_a_path(shelf, tmp_path, content):
    with pytest.raises(UserError, match=r"^This file cannot be read as an image") as refusal:
        shelf.add_photo(content)
    assert "/" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("token", ["", "..", "photos/a/photo.png", "0" * 32])
def test_only_tokens_name_files(shelf, token):
    shelf.add_photo(encoded(picture()))
    with pytest.raises(UserError, match="no such picture"):
        shelf.file(token)


def test_a_mask_is_kept_to_the_byte(shelf):
    photo = shelf.file(shelf.add_photo(encoded(picture()))["token"])
    file = shelf.write_mask(photo, in_base64(box_mask().convert("RGBA")), photo.parent)
    np.testing.assert_array_equal(np.asarray(read_grey(file)), np.asarray(box_mask()))


def test_a_mask_that_marks_nothing_is_none(shelf):
    photo = shelf.file(shelf.add_photo(encoded(picture()))["token"])
    assert shelf.write_mask(photo, "", photo.parent) is None
    assert shelf.write_mask(photo, in_base64(Image.new("L", (32, 32))), photo.parent) is None
    assert [file.name for file in photo.parent.iterdir()] == ["photo.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("?", "no base64"),
        (base64.b64encode(b"text").decode(), "the mask"),
        (in_base64(Image.new("L", (32, 32), 255)), "covers the whole photo"),
        (in_base64(box_mask(16, 32)), r"the mask is \(16, 32\), the photo \(32, 32\)"),
    ],
)
def test_what_is_no_mask_of_the_photo_is_refused(shelf, content, message):
    photo = shelf.file(shelf.add_photo(encoded(picture()))["token"])
    with pytest.raises(UserError, match=message):
        shelf.write_mask(photo, content, photo.parent)
