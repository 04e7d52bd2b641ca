"""One photo: the size at which it is edited, its mask, and its points."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sde_edit.api.example import Drag
from sde_edit.datasets.picture import Picture
from sde_edit.errors import UserError
from sde_edit.registry import build
from tests.builders import picture

WIDTH, HEIGHT = 96, 72
Make = Callable[..., Picture]
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes the data set of a photo of 96x72, or of another size, with these settings."""

    def photo(size: tuple[int, int] = (WIDTH, HEIGHT), **settings: Any) -> Picture:
        pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photo.png")
        own = {"image": str(tmp_path / "photo.png"), "resolution": 64}
        built = build("datasets", "picture", own | settings)
        assert isinstance(built, Picture)
        return built

    return photo


def write_mask(folder: Path, white: tuple[slice, slice], size: tuple[int, int] = (96, 72)) -> str:
    mask = np.zeros(size[::-1], np.uint8)
    mask[white] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    return str(folder / "mask.png")


@pytest.mark.parametrize(
    ("size", "settings", "work"),
    [
        ((96, 72), {}, (85, 64)),
        ((72, 96), {}, (64, 85)),
        ((40, 30), {}, (85, 64)),
        ((200, 100), {}, (128, 64)),
        ((300, 100), {}, (128, 43)),
        ((100, 300), {}, (43, 128)),
        ((96, 72), {"fit": "crop"}, (64, 64)),
        ((96, 72), {"resolution": None}, (96, 72)),
    ],
)
def test_the_whole_photo_is_edited_at_a_size_for_the_model(
    make: Make, size: tuple[int, int], settings: dict[str, Any], work: tuple[int, int]
) -> None:
    picture = make(size, **settings)
    assert picture.sizes(["photo"]) == [work]
    assert picture.load("photo").image.shape == (*work[::-1], 3)


def test_a_photo_of_the_models_size_keeps_its_pixels(make: Make) -> None:
    picture = make((100, 64))
    np.testing.assert_array_equal(picture.load("photo").image, picture.photo().image)


@pytest.mark.parametrize("size", [(256, 192), (60, 45)])
def test_what_covers_a_hidden_pixel_may_change(
    make: Make, tmp_path: Path, size: tuple[int, int]
) -> None:
    """A single hidden pixel and a thin line are hidden at 85x64 too, and nothing else is."""
    mask = write_mask(tmp_path, (slice(30, 31), slice(15, 16)), size)
    photo, one = make(size, mask=mask).photo().mask, make(size, mask=mask).load("photo").mask
    assert photo is not None
    assert one is not None
    assert np.argwhere(photo).tolist() == [[30, 15]]
    middle = (30.5 * 64 / size[1] - 0.5, 15.5 * 85 / size[0] - 0.5)
    assert np.abs(np.argwhere(one) - middle).max() < 1.1
    line = make(size, mask=write_mask(tmp_path, (slice(30, 31), slice(0, size[0] // 2)), size))
    hidden = line.load("photo").mask
    assert hidden is not None
    columns = hidden.any(axis=0)
    assert columns[:42].all()
    assert not columns[44:].any()


def test_a_black_hole_is_the_other_way_round(make: Make, tmp_path: Path) -> None:
    mask = write_mask(tmp_path, (slice(0, 10), slice(0, 20)))
    white, black = (make(mask=mask, hole=hole).photo().mask for hole in ("white", "black"))
    assert white is not None
    assert white[:10, :20].all()
    assert white.sum() == 200
    np.testing.assert_array_equal(black, 1 - white)


@pytest.mark.parametrize("size", [(10, 10), (72, 96)])
def test_a_mask_of_another_size_is_refused(
    make: Make, tmp_path: Path, size: tuple[int, int]
) -> None:
    mask = write_mask(tmp_path, (slice(0, 5), slice(0, 5)), size)
    message = f"the mask is {size[0]}x{size[1]} and .*photo.png 96x72"
    with pytest.raises(UserError, match=message):
        make(mask=mask).load("photo")


def test_photo_and_mask_are_upright(make: Make, tmp_path: Path) -> None:
    """A camera's photo that is stored on its side has a mask of the size that one sees."""
    picture = make(mask=write_mask(tmp_path, (slice(0, 5), slice(0, 5)), (72, 96)))
    with Image.open(picture.image) as stored:
        exif = stored.getexif()
        exif[0x0112] = 6
        turned = np.rot90(np.asarray(stored), -1)
        stored.save(picture.image, exif=exif)
    np.testing.assert_array_equal(picture.photo().image, turned)
    assert picture.load("photo").image.shape == (85, 64, 3)


def test_points_go_where_their_content_goes(make: Make) -> None:
    drags = (((0.0, 0.0), (95.5, 71.5)), ((48.0, 36.0), (60.0, 9.0)))
    (first, second) = make(drags=drags).load("photo").drags
    x, y = 85 / 96, 64 / 72
    assert (first, second) == (
        Drag((0, 0), pytest.approx((95.5 * x, 71.5 * y))),
        Drag(pytest.approx((48 * x, 36 * y)), pytest.approx((60 * x, 9 * y))),
    )


def test_the_central_square_has_points_and_mask_of_its_own(make: Make, tmp_path: Path) -> None:
    mask = write_mask(tmp_path, (slice(0, 10), slice(0, 20)))
    picture = make(mask=mask, fit="crop", drags=(((12.0, 0.0), (83.0, 71.0)),))
    photo = picture.photo()
    assert photo.image.shape == (72, 72, 3)
    assert photo.drags == (Drag((0, 0), (71, 71)),)
    assert photo.mask is not None
    assert photo.mask[:10, :8].all()
    assert photo.mask.sum() == 80


@pytest.mark.parametrize(
    ("point", "fit", "message"),
    [
        ((96.0, 30.0), "keep", "the point 96,30 is outside .*photo.png, which is 96x72 pixels"),
        ((-1.0, 30.0), "keep", "the point -1,30 is outside"),
        ((30.0, 72.5), "keep", "the point 30,72.5 is outside"),
        ((11.0, 30.0), "crop", "the point 11,30 is outside the central square of .*photo.png"),
    ],
)
def test_points_outside_are_named(
    make: Make, point: tuple[float, float], fit: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make(fit=fit, drags=(((40.0, 40.0), point),)).load("photo")


def test_a_picture_is_called_by_its_file_on_every_file_system(tmp_path: Path) -> None:
    file = tmp_path / "cafe\u0301.jpg"
    picture().save(file)
    data = Picture(str(file), 32)
    assert data.ids() == ["caf\u00e9"]
    assert data.load("caf\u00e9").image.shape == (32, 32, 3)
    assert (data.status().found, list(data.status().problems)) == (1, [])


def _nothing(path: Path) -> None:
    pass


def _text(path: Path) -> None:
    path.write_text("no picture")


@pytest.mark.parametrize(("make", "message"), [
    (_nothing, "no such file"), (Path.mkdir, "Is a directory"), (os.mkfifo, "is a pipe"),
    (_text, "cannot be read as an image"),
])  # fmt: skip
def test_what_is_no_picture_is_named(tmp_path: Path, make, message: str) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "a.png"
    make(file)
    data = Picture(str(file), 32)
    with pytest.raises(UserError, match=rf"data\.image=.*a\.png: .*{message}"):
        data.ids()
    assert message in data.status().problems[0]
