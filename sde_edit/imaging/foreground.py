"""What stands out from the background in pictures of the embedded world, and where it is.

There a background is a plane in each channel (`shapes.Scene.render`), cut off at 0 and 255, and
things reach the border with a corner at most, so the border says what the background is.
Coordinates are pixels, x to the right and y down, as in `shapes`; a pixel's centre is at one half.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sde_edit.api.example import Pixels

# Levels of 255. Of 4,000 scenes, 1 in 1,000 has a pixel of a thing that differs by less than 31,
# the least by 23; what a model draws is a few levels off.
THRESHOLD = 32
# Things take 3 to 25 % of a scene. With less or more there is none, or the fit found no background.
SHARES = (1 / 256, 1 / 2)
_ROUNDS = 20


_Field = NDArray[np.float64]


def foreground(image: Pixels) -> NDArray[np.bool_]:
    """Pixels of uint8 [H, W, 3] that differ from `background` by more than THRESHOLD: bool [H, W].

    In any one channel. All false unless their share is within SHARES, so that what is found is a
    thing and neither a speck nor a picture without a background.
    """
    found: NDArray[np.bool_] = np.abs(image - background(image)).max(axis=-1) > THRESHOLD
    low, high = SHARES
    return found if low <= found.mean() <= high else np.zeros_like(found)


def centroid(mask: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Mean (x, y) of the true pixels of [H, W]; None without any."""
    if not mask.any():
        return None
    y, x = np.nonzero(mask)
    return float(x.mean()) + 0.5, float(y.mean()) + 0.5


def background(image: Pixels) -> _Field:
    """Per channel the plane a + b x + c y of uint8 [H, W, 3], cut off at 0 and 255: [H, W, 3].

    Fitted to the outermost pixels by least absolute differences, as least squares reweighted
    by 1 / |difference|: a thing that reaches the border hardly moves it. A pixel that is cut off
    where the plane goes beyond says no more than that, and pulls at nothing.
    """
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width] + 0.5
    terms = np.stack([np.ones_like(x), x / width - 0.5, y / height - 0.5], axis=-1)
    at_border = np.ones((height, width), dtype=bool)
    at_border[1:-1, 1:-1] = False
    plane = _fit(terms[at_border], image[at_border].astype(np.float64))
    cut_off: _Field = np.clip(terms @ plane, 0, 255)
    return cut_off


def _fit(terms: _Field, values: _Field) -> _Field:
    """Coefficients [3, C] of terms [P, 3] for values [P, C]; the channels share their weights."""
    plane = _least_squares(terms, values)
    for _ in range(_ROUNDS):
        guess = terms @ plane
        beyond = ((values == 0) & (guess < 0)) | ((values == 255) & (guess > 255))
        targets = np.where(beyond, guess, values)
        # No difference counts as less than a level: that is rounding.
        weights = np.sqrt(1 / np.abs(guess - targets).max(axis=-1, keepdims=True).clip(1))
        plane = _least_squares(weights * terms, weights * targets)
    return plane


def _least_squares(terms: _Field, values: _Field) -> _Field:
    return np.linalg.lstsq(terms, values, rcond=None)[0].astype(np.float64, copy=False)
