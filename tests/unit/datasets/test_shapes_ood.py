"""The data set of scenes outside the distribution."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from sde_edit.config import metric
from sde_edit.datasets.shapes import Shapes
from sde_edit.datasets.shapes_drags import ShapesDrags
from sde_edit.datasets.shapes_ood import ShapesOod
from sde_edit.errors import UserError
from sde_edit.imaging.shifted_scenes import SHIFTS, Shift

NEW_ONES = [shift for shift in SHIFTS if shift != "none"]


def test_without_a_shift_an_example_is_that_of_shapes() -> None:
    ours, theirs = ShapesOod(n=3), Shapes(n=3)
    for example_id in theirs.ids():
        a, b = ours.load(example_id), theirs.load(example_id)
        assert (a.caption, a.novel) == (b.caption, "")
        for name in ("image", "truth", "mask"):
            assert np.array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_drag_goes_from_the_image_to_the_truth(shift: Shift) -> None:
    data = ShapesOod(n=4, shift=shift, ask="move")
    for example_id in data.ids():
        example, (before, after) = data.load(example_id), data.scenes(example_id)
        assert np.array_equal(example.image, before.render())
        assert np.array_equal(example.truth, after.render())
        (drag,) = example.drags
        assert drag.source in {(thing.x, thing.y) for thing in before.things}
        assert drag.target in {(thing.x, thing.y) for thing in after.things}
        assert example.mask is None


def test_settings_tell_digests_apart_and_n_does_not() -> None:
    assert get_args(Shift) == SHIFTS
    every = {
        ShapesOod(shift=shift, ask=ask).digest() for shift in SHIFTS for ask in ("fill", "move")
    }
    assert len(every) == 2 * len(SHIFTS)
    assert ShapesOod(n=3).digest() == ShapesOod(n=9).digest()


def test_masks_are_refused_where_nothing_is_hidden() -> None:
    with pytest.raises(UserError, match=r"data\.masks=large has no effect with data\.ask=move"):
        ShapesOod(ask="move", masks="large")


@pytest.mark.parametrize("shift", NEW_ONES)
@pytest.mark.parametrize("name", ["attributes", "shapes_clip"])
def test_metrics_that_name_things_refuse_what_is_new(name: str, shift: Shift) -> None:
    known, new = (ShapesOod(n=1, shift=s).load("test-000000") for s in ("none", shift))
    metric(name).metric.check(known)
    with pytest.raises(UserError, match="recogniser cannot name: choose psnr"):
        metric(name).metric.check(new)


@pytest.mark.parametrize("name", ["arrived", "left_behind", "position_shift"])
def test_metrics_that_find_things_refuse_stripes_alone(name: str) -> None:
    for shift in SHIFTS:
        data = ShapesOod(n=40, shift=shift, ask="move")
        for example in map(data.load, data.ids()):
            if shift != "background":
                metric(name).metric.check(example)
                continue
            with pytest.raises(UserError, match="no plane of brightness"):
                metric(name).metric.check(example)


# Of the first thousand, those whose borders are least like a plane.
@pytest.mark.parametrize("scene", [210, 225, 487, 503, 574])
def test_metrics_that_find_things_accept_every_scene_of_the_world(scene: int) -> None:
    example = ShapesDrags(n=1024).load(f"test-{scene:06d}")
    for name in ("arrived", "left_behind", "position_shift"):
        metric(name).metric.check(example)
