"""Labels of points."""

from __future__ import annotations

import numpy as np
import pytest

from sde_edit.report.labels import offsets

SIZE = np.array([12.0, 6.5])


def place(points: np.ndarray, curves: np.ndarray | None = None) -> np.ndarray:
    around = np.zeros((0, 2)) if curves is None else curves
    return points + offsets(points, np.tile(SIZE, (len(points), 1)), around)


def overlap(a: np.ndarray, b: np.ndarray, size: np.ndarray) -> bool:
    return bool((np.abs(a - b) < size - 1e-9).all())


@pytest.mark.parametrize("apart", [3.0, 6.0, 40.0])
def test_no_label_covers_another_or_a_point(apart: float) -> None:
    points = apart * np.array([(0, 0), (1, 0.2), (2, -0.3), (1.4, 1), (0.3, 1.2), (2.2, 1)])
    labels = place(points)
    for i, label in enumerate(labels):
        assert not any(overlap(label, other, SIZE) for other in labels[:i])
        assert not any(overlap(label, point, (SIZE + 5) / 2) for point in points)


def test_a_label_stands_near_its_own_point() -> None:
    points = np.array([(0.0, 0.0), (30.0, 0.0), (60.0, 5.0)])
    distances = np.hypot(*(place(points)[:, None] - points[None]).transpose(2, 0, 1))
    assert distances.argmin(axis=1).tolist() == [0, 1, 2]
    assert distances.min(axis=1).max() < 10


def test_a_label_leaves_a_curve_free() -> None:
    curve = np.stack([np.linspace(-60, 60, 200), np.zeros(200)], axis=1)
    ((_, above),) = place(np.zeros((1, 2)), curve)
    assert abs(above) > SIZE[1] / 2


def test_no_points_have_no_labels() -> None:
    assert place(np.zeros((0, 2))).shape == (0, 2)
