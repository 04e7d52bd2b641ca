"""Scenes of the embedded world with masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sde_edit.datasets.shapes import Shapes
from sde_edit.errors import UserError
from sde_edit.imaging.shapes_world import SPLITS, make_scene
from sde_edit.registry import build

pytestmark = pytest.mark.usefixtures("own_cache")


def test_shapes_gives_the_scene_its_caption_and_its_truth() -> None:
    data = build("datasets", "shapes", {"split": "test", "n": 5, "masks": "large"})
    assert data.ids() == [f"test-00000{i}" for i in range(5)]
    example = data.load("test-000003")
    scene = make_scene(SPLITS["test"][3])
    np.testing.assert_array_equal(example.image, scene.render())
    np.testing.assert_array_equal(example.truth, scene.render())
    assert example.caption == scene.caption()
    assert example.mask.shape == (64, 64)
    assert example.mask.dtype == np.float32
    assert 0.3 <= example.mask.mean() <= 0.51


def test_shapes_does_not_depend_on_n() -> None:
    few, many = Shapes(n=2), Shapes(n=500)
    assert few.digest() == many.digest()
    np.testing.assert_array_equal(few.load("test-000001").mask, many.load("test-000001").mask)


def test_shapes_digest_tells_splits_and_masks_apart() -> None:
    kinds = [Shapes(split=s, masks=m) for s in ("val", "test") for m in ("small", "large")]
    assert len({data.digest() for data in kinds}) == 4


@pytest.mark.parametrize(
    "example_id", ["test-000005", "val-000000", "test-0", "0", "test--00001", "../x"]
)
def test_shapes_refuses_other_ids(example_id: str) -> None:
    with pytest.raises(UserError, match="ids are test-000000 to test-000004"):
        Shapes(n=5).load(example_id)


@pytest.mark.parametrize(("settings", "message"), [
    ({"n": 0}, "data.n=0"),
    ({"n": 100_001}, "1 to 100000"),
    ({"masks": "medium"}, "'small' or 'large'"),
    ({"mask": "small"}, "Did you mean 'masks'"),
])  # fmt: skip
def test_shapes_refuses_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("datasets", "shapes", settings)


def test_shapes_status() -> None:
    status = Shapes(n=7).status()
    assert (status.found, list(status.problems)) == (7, [])
