"""Contact sheets and the picture of a mask."""

from __future__ import annotations

import numpy as np
import pytest

from sde_edit.contact import contact_sheet, masked
from sde_edit.shapes import scene_of


def images(n: int) -> list[np.ndarray]:
    return [scene_of("val", i).render() for i in range(n)]


def test_every_pixel_is_enlarged_unchanged() -> None:
    original = images(1)
    sheet = np.asarray(contact_sheet({"a": original, "b": original}, scale=3))
    enlarged = original[0].repeat(3, axis=0).repeat(3, axis=1)
    for x in (12, 12 + 192 + 12):
        rows = sheet[-12 - 192 : -12, x : x + 192]
        np.testing.assert_array_equal(rows, enlarged)


def test_headings_are_drawn_over_their_columns() -> None:
    sheet = np.asarray(contact_sheet({"original": images(1), "": images(1)}, scale=3))
    top = sheet[: -12 - 192]
    assert (top[:, : 12 + 192] < 128).any()
    assert (top[:, 12 + 192 :] == 255).all()


def test_the_scale_makes_small_images_comfortable_and_leaves_large_ones() -> None:
    small = contact_sheet({"a": images(2)})
    assert small.width == 12 + 192 + 12
    large = contact_sheet({"a": [np.zeros((512, 512, 3), np.uint8)]})
    assert large.width == 12 + 512 + 12


def test_captions_wrap_and_take_their_room() -> None:
    plain = contact_sheet({"a": images(2)})
    short = contact_sheet({"a": images(2)}, captions=["a star", "a ring"])
    long = contact_sheet({"a": images(2)}, captions=["a red star on a white background " * 3, ""])
    assert plain.height < short.height < long.height
    assert plain.width == short.width == long.width


def test_same_input_same_pixels() -> None:
    sheets = [contact_sheet({"a": images(2)}, captions=["x", "y"]).tobytes() for _ in range(2)]
    assert sheets[0] == sheets[1]


@pytest.mark.parametrize(
    ("columns", "captions", "message"),
    [
        ({}, None, "at least one"),
        ({"a": []}, None, "at least one"),
        ({"a": images(1), "b": images(2)}, None, "longer"),
        ({"a": [*images(1), np.zeros((8, 8, 3), np.uint8)]}, None, "of one size"),
        ({"a": [np.zeros((8, 8), np.uint8)]}, None, "of one size"),
        ({"a": images(1)}, ["one", "too many"], "2 captions for 1 rows"),
    ],
)
def test_unfit_input_is_refused(
    columns: dict[str, list[np.ndarray]], captions: list[str] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        contact_sheet(columns, captions=captions)


def test_masked_hides_only_what_the_mask_hides() -> None:
    image = images(1)[0]
    mask = np.zeros((64, 64), np.float32)
    mask[16:48, 16:48] = 1
    shown = masked(image, mask)
    np.testing.assert_array_equal(shown[mask == 0], image[mask == 0])
    hidden = shown[mask == 1]
    assert set(np.unique(hidden)) == {96, 160}
    assert (hidden == hidden[:, :1]).all()


def test_soft_masks_blend() -> None:
    image = np.full((64, 64, 3), 200, np.uint8)
    half = masked(image, np.full((64, 64), 0.5, np.float32))
    assert set(np.unique(half)) == {148, 180}
