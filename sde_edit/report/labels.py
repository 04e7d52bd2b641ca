"""Places for the labels of points, so that they cover neither each other nor the points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Pairs = NDArray[np.float64]  # [..., 2], in typographic points
_POINT = (6.0, 6.0)  # the size of a point with its rim
_LINE = (1.0, 1.0)  # the size of a place of a curve
# What it costs to cover a label or a point, to cover a place of a curve, to be nearer to another
# point, and to be a typographic point away.
_COVERS, _CROSSES, _AMBIGUOUS, _FAR = 5.0, 0.05, 0.3, 0.02
_RADII, _ANGLES = np.array([9.5, 13, 18, 24, 31, 39]), np.deg2rad(np.arange(0, 360, 22.5))
_AROUND: _Pairs = (
    _RADII[:, None, None] * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=-1)
).reshape(-1, 2)


def offsets(points_N2: _Pairs, sizes_N2: _Pairs, curves_M2: _Pairs) -> _Pairs:
    """From each point to the centre of its label, [N, 2].

    sizes_N2: width and height of the labels. curves_M2: places that they should rather not cover.
    Labels are placed one after the other, each where it covers least and is near.
    """
    found = np.zeros_like(points_N2)
    for i, (point, size) in enumerate(zip(points_N2, sizes_N2, strict=True)):
        tried = point + _AROUND
        cost = (
            _COVERS * _covered(tried, size, points_N2[:i] + found[:i], sizes_N2[:i])
            + _COVERS * _covered(tried, size, points_N2, np.array(_POINT))
            + _CROSSES * _covered(tried, size, curves_M2, np.array(_LINE))
            + _AMBIGUOUS * (np.argmin(_distances(tried, points_N2), axis=-1) != i)
            + _FAR * np.hypot(*_AROUND.T)
        )
        found[i] = _AROUND[np.argmin(cost)]
    return found


def _distances(a_K2: _Pairs, b_M2: _Pairs) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.hypot(*np.moveaxis(a_K2[:, None] - b_M2[None], -1, 0))
    return found


def _covered(a_K2: _Pairs, size_a: _Pairs, b_M2: _Pairs, size_b: _Pairs) -> NDArray[np.float64]:
    """For each box around a, the sum of the shares of the smaller box that it has in common with
    each box around b, [K]."""
    least = np.minimum(size_a, size_b)
    room = (size_a + size_b) / 2 - np.abs(a_K2[:, None] - b_M2[None])
    shares = np.clip(np.minimum(room, least), 0, None) / least
    total: NDArray[np.float64] = shares.prod(axis=-1).sum(axis=-1)
    return total
