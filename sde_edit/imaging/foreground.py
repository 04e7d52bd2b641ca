"""Finds the foreground and its centroid in images of the embedded world.

Its backgrounds are a plane in each channel (`Scene.render` of `shapes_world`), clipped to 0 and
255. Objects touch the border with a corner at most, so the border determines the background.
Coordinates are pixels, x to the right and y down; the centre of the first pixel is at (0.5, 0.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sde_edit.errors import UserError

if TYPE_CHECKING:
    from sde_edit.api.example import Example, Pixels

# In levels of 255. Of 4,000 scenes, 1 in 1,000 has an object pixel that differs from the background
# by less than 31 levels, the minimum being 23; images of a model are off by a few levels.
THRESHOLD = 32
# Objects cover 3 to 25 % of a scene. Outside these bounds there is no object, or the fit failed.
SHARES = (1 / 256, 1 / 2)
# Levels by which a fifth of the border may be off a plane: at most 5.8 in 3,000 scenes, 7.2 or more
# in 1,500 striped ones.
_PLANE = 6.5
_ROUNDS = 20
_Field = NDArray[np.float64]


def foreground(image: Pixels) -> NDArray[np.bool_]:
    """Pixels of uint8 [H, W, 3] that differ from `background` in a channel by more than THRESHOLD.

    Returns bool [H, W], all false unless the share of true pixels is within SHARES. This excludes
    specks and images without a background.
    """
    found: NDArray[np.bool_] = np.abs(image - background(image)).max(axis=-1) > THRESHOLD
    low, high = SHARES
    return found if low <= found.mean() <= high else np.zeros_like(found)


def check_plane(example: Example) -> None:
    """Raises UserError for an example whose background is none that objects can be told from."""
    apart = np.abs(example.image - background(example.image)).max(axis=-1)
    if np.quantile(apart[_border(apart.shape)], 0.8) > _PLANE:
        raise UserError(
            f"the background of example {example.id!r} is no plane of brightness, so what stands "
            "out from it cannot be found: choose psnr, kept_error or shapes_drag_distance"
        )


def _border(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """True at the outermost pixels."""
    at_border = np.ones(shape, dtype=bool)
    at_border[1:-1, 1:-1] = False
    return at_border


def centroid(mask: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Mean (x, y) of the true pixels of [H, W]; None without any."""
    if not mask.any():
        return None
    y, x = np.nonzero(mask)
    return float(x.mean()) + 0.5, float(y.mean()) + 0.5


def background(image: Pixels) -> _Field:
    """A plane a + b x + c y per channel of uint8 [H, W, 3], clipped to 0 and 255: [H, W, 3].

    The planes are fitted to the outermost pixels by least absolute differences (iteratively
    reweighted least squares), so an object at the border hardly moves them. A clipped pixel where
    the plane lies beyond the range agrees with it and has no influence.
    """
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width] + 0.5
    terms = np.stack([np.ones_like(x), x / width - 0.5, y / height - 0.5], axis=-1)
    at_border = _border((height, width))
    plane = _fit(terms[at_border], image[at_border].astype(np.float64))
    clipped: _Field = np.clip(terms @ plane, 0, 255)
    return clipped


def _fit(terms: _Field, values: _Field) -> _Field:
    """Coefficients [3, C] of terms [P, 3] for values [P, C]; the channels share their weights."""
    plane = _least_squares(terms, values)
    for _ in range(_ROUNDS):
        guess = terms @ plane
        beyond = ((values == 0) & (guess < 0)) | ((values == 255) & (guess > 255))
        targets = np.where(beyond, guess, values)
        # Differences below one level are rounding and count as one level.
        weights = np.sqrt(1 / np.abs(guess - targets).max(axis=-1, keepdims=True).clip(1))
        plane = _least_squares(weights * terms, weights * targets)
    return plane


def _least_squares(terms: _Field, values: _Field) -> _Field:
    return np.linalg.lstsq(terms, values, rcond=None)[0].astype(np.float64, copy=False)
