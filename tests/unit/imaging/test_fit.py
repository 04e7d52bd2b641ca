"""Pictures of any shape, and the points and masks that go with them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sde_edit.api.example import Drag, Example
from sde_edit.errors import UserError
from sde_edit.imaging.fit import Fitting, Frame, extended, unchanged

FILE = Path("a.png")


def frame(width: int, height: int, resolution: int | None, fit: str, side: str = "short") -> Frame:
    return Fitting(resolution, fit, side).frame((width, height), FILE)  # type: ignore[arg-type]


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("size", "settings", "expected"),
    [
        ((640, 427), (512, "crop"), (512, 512)),
        ((640, 427), (512, "pad"), (512, 512)),
        ((640, 427), (512, "keep"), (767, 512)),
        ((427, 640), (512, "keep"), (512, 767)),
        ((640, 427), (512, "keep", "long"), (512, 342)),
        ((512, 341), (None, "keep"), (512, 341)),
        ((512, 512), (512, "exact"), (512, 512)),
    ],
)
def test_sizes(size: tuple[int, int], settings: tuple[int], expected: tuple[int, int]) -> None:
    fitted = Fitting(*settings).frame(size, FILE)
    height, width = fitted.pixels(noise(*size)).shape[:2]
    assert (width, height) == fitted.size == expected


def test_a_picture_that_has_its_size_keeps_every_bit() -> None:
    image = noise(48, 31)
    for settings in [(None, "keep"), (31, "keep"), (48, "keep", "long")]:
        np.testing.assert_array_equal(
            Fitting(*settings).frame((48, 31), FILE).pixels(image), np.asarray(image)
        )


def test_crop_takes_the_centre_of_the_resized_picture() -> None:
    image = noise(96, 48)
    whole = np.asarray(image.resize((64, 32), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(frame(96, 48, 32, "crop").pixels(image), whole[:, 16:48])


def test_padding_repeats_the_border_and_hides_nothing() -> None:
    image = noise(32, 20)
    fitted = frame(32, 20, 32, "pad")
    pixels = fitted.pixels(image)
    np.testing.assert_array_equal(pixels[6:26], np.asarray(image))
    assert (pixels[:6] == pixels[6]).all()
    assert (pixels[26:] == pixels[25]).all()
    mask = fitted.padded(np.ones((20, 32), np.float32))
    assert mask.shape == (32, 32)
    assert mask[6:26].all()
    assert not mask[:6].any()
    assert not mask[26:].any()


@pytest.mark.parametrize(
    ("settings", "point", "expected"),
    [
        ((64, "keep"), (60, 30), (40, 20)),
        ((64, "keep", "long"), (72, 48), (32, 21.3)),
        ((64, "crop"), (60, 30), (24, 20)),
        ((96, "pad"), (60, 30), (40, 36)),
        ((None, "keep"), (60, 30), (60, 30)),
    ],
)
def test_points_move_with_the_picture(
    settings: tuple[int], point: tuple[float, float], expected: tuple[float, float]
) -> None:
    fitted = Fitting(*settings).frame((144, 96), FILE)
    assert fitted.point(point) == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize("settings", [(64, "keep"), (64, "crop"), (96, "pad"), (None, "keep")])
def test_points_stay_on_what_they_point_at(settings: tuple[int]) -> None:
    """A white square about the point is found again about the fitted point."""
    image = Image.new("RGB", (144, 96))
    image.paste((255, 255, 255), (66, 42, 78, 54))
    fitted = Fitting(*settings).frame((144, 96), FILE)
    rows, columns = (fitted.pixels(image)[..., 0] > 127).nonzero()
    x, y = fitted.point((72, 48))
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((x, y), abs=0.6)
    assert fitted.holds((x, y))


def test_a_point_that_is_cut_off_lies_outside() -> None:
    fitted = frame(144, 96, 64, "crop")
    assert not fitted.holds(fitted.point((3, 48)))


def test_a_very_long_picture_is_cut_before_it_is_resized() -> None:
    image = Image.new("RGB", (1, 60_000), (9, 8, 7))
    tracemalloc.start()
    pixels = frame(1, 60_000, 512, "crop").pixels(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pixels.shape == (512, 512, 3)
    assert (pixels == (9, 8, 7)).all()
    assert frame(1, 60_000, 512, "crop").resized == (512, 4096)
    assert peak < 10 * pixels.nbytes


@pytest.mark.parametrize(
    ("size", "settings", "message"),
    [
        ((40, 32), (32, "exact"), r"a\.png: is 40x32, not 32x32.*data\.fit=crop"),
        ((900, 100), (64, "keep"), r"a\.png: is 900x100, longer than 8 times its short side"),
        ((6, 40), (None, "keep"), r"a\.png: becomes 6x40; a side needs 8 pixels"),
    ],
)
def test_pictures_are_refused(size: tuple[int, int], settings: tuple[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Fitting(*settings).frame(size, FILE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((7, "crop"), r"data\.resolution=7: must be at least 8"),
        ((None, "crop"), r"data\.resolution=null .* data\.fit=crop does not"),
        ((64, "crop", "long"), r"data\.side=long acts only with data\.fit=keep"),
        ((None, "keep", "long"), r"data\.side=long acts only with data\.fit=keep and a data\.res"),
    ],
)
def test_settings_are_refused(settings: tuple[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Fitting(*settings)


def test_borders_are_extended_to_the_factor_and_nothing_moves() -> None:
    image = np.asarray(noise(30, 21))
    mask = np.zeros((21, 30), np.float32)
    mask[-1, -1] = 1
    drags = (Drag((3, 4), (20, 20)),)
    example = Example("a", image, mask=mask, truth=image, drags=drags)
    wide = extended(example, 8)
    assert wide.image.shape == (24, 32, 3)
    np.testing.assert_array_equal(wide.image[:21, :30], image)
    assert (wide.image[21:, :30] == image[-1]).all()
    assert wide.mask is not None
    assert wide.mask.shape == (24, 32)
    assert wide.mask[20:, 29:].all()
    assert wide.mask.sum() == 4 * 3
    assert wide.truth is not None
    assert wide.truth.shape == (24, 32, 3)
    assert wide.drags == drags
    assert extended(wide, 8) is wide


def test_an_unchanged_picture_has_a_frame_too() -> None:
    image = noise(20, 30)
    np.testing.assert_array_equal(unchanged((20, 30)).pixels(image), np.asarray(image))
