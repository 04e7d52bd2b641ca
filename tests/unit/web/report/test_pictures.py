"""Pictures and thumbnails of a report."""

from __future__ import annotations

import numpy as np
import pytest

from sde_edit.errors import UserError
from sde_edit.imaging.files import from_png, read_size
from sde_edit.store.runs import ImageRecord
from sde_edit.web.report.folder import Folder
from sde_edit.web.report.pictures import (
    LIGHT,
    SIDE,
    Thumbnail,
    keep_image,
    keep_mask,
    make_thumbnails,
    thumbnail_name,
)

NOISE = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)


def record(size: int, pixels: str = "a") -> ImageRecord:
    return ImageRecord("0", "0.png", size, pixels, 0.1, 1.0, "cpu", "float32")


def test_light_image_is_its_own_thumbnail():
    assert thumbnail_name(record(LIGHT)) is None
    assert thumbnail_name(record(LIGHT + 1)) is not None


def test_name_of_a_thumbnail_follows_from_the_pixels_and_is_safe():
    names = {thumbnail_name(record(LIGHT + 1, pixels)) for pixels in ("a", "b", "../../etc", "a")}
    assert len(names) == 3
    assert all(name and name.isalnum() for name in names)


def test_heavy_image_is_kept_with_a_thumbnail_of_its_shape(tmp_path):
    full, small = keep_image(Folder(tmp_path), NOISE)
    assert read_size(tmp_path / full) == (300, 200)
    assert read_size(tmp_path / small) == (SIDE, round(SIDE * 2 / 3))
    assert (tmp_path / small).stat().st_size < (tmp_path / full).stat().st_size / 10


def test_what_is_there_is_not_made_again(tmp_path):
    paths = [tmp_path / path for path in keep_image(Folder(tmp_path), NOISE)]
    before = [path.stat().st_mtime_ns for path in paths]
    assert [tmp_path / path for path in keep_image(Folder(tmp_path), NOISE.copy())] == paths
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_images_of_one_content_and_two_shapes_have_two_names(tmp_path):
    wide, high = np.zeros((4, 8, 3), np.uint8), np.zeros((8, 4, 3), np.uint8)
    assert keep_image(Folder(tmp_path), wide) != keep_image(Folder(tmp_path), high)


def test_mask_is_a_tint_where_it_hides(tmp_path):
    mask = np.zeros((4, 6), np.float32)
    mask[:, :2] = 1
    tint = from_png((tmp_path / keep_mask(Folder(tmp_path), mask)).read_bytes(), name="mask")
    assert tint.mode == "RGBA"
    alpha = np.asarray(tint)[..., 3]
    assert set(alpha[:, :2].flat) == {115}
    assert set(alpha[:, 2:].flat) == {0}


def test_output_that_is_no_image_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"broken\.png cannot be read as an image"):
        make_thumbnails(Folder(tmp_path), [Thumbnail(tmp_path / "broken.png", "0123")])
