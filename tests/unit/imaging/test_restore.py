"""The result of an edit, brought back to the size of the photo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from sde_edit.api.example import Example
from sde_edit.imaging.restore import restored

if TYPE_CHECKING:
    from sde_edit.api.example import Pixels


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_what_has_the_size_keeps_its_pixels() -> None:
    edited = noise(20, 30)
    np.testing.assert_array_equal(restored(edited, Example("a", noise(20, 30, 1))), edited)


@pytest.mark.parametrize(("height", "width"), [(8, 12), (60, 90)])
def test_a_constant_stays_constant_at_the_size_of_the_photo(height: int, width: int) -> None:
    edited = np.full((height, width, 3), (10, 120, 250), np.uint8)
    result = restored(edited, Example("a", noise(20, 30)))
    np.testing.assert_array_equal(result, np.broadcast_to(edited[0, 0], (20, 30, 3)))


def test_it_is_reduced_without_aliasing() -> None:
    """Alternate black and white columns become grey, not one of the two."""
    stripes = np.zeros((40, 120, 3), np.uint8)
    stripes[:, ::2] = 255
    result = restored(stripes, Example("a", noise(10, 30)))
    assert np.abs(result.astype(int) - 127).max() < 20


@pytest.mark.parametrize("size", [(20, 30), (8, 12), (60, 90)])
def test_outside_the_mask_the_pixels_are_the_photos(size: tuple[int, int]) -> None:
    photo, mask = noise(20, 30), np.zeros((20, 30), np.float32)
    mask[3:17, 5] = 1
    edited = 255 - np.zeros((*size, 3), np.uint8)
    result = restored(edited, Example("a", photo, mask=mask))
    np.testing.assert_array_equal(result[mask == 0], photo[mask == 0])
    assert (result[mask == 1] == 255).all()
