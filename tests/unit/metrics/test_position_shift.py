"""How far a thing has moved."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.imaging.shapes_world import (
    IMAGE_SIZE,
    SHAPES,
    Pixels,
    Scene,
    make_scene,
)
from sde_edit.registry import build

SCENES = [make_scene(i) for i in range(60)]
DIAGONAL = 64 * math.sqrt(2)


def empty(scene: Scene) -> Scene:
    return replace(scene, things=())


def shift(output: Pixels, truth: Pixels) -> float:
    example = Example("e", image=np.zeros_like(truth), truth=truth)
    rows = build("metrics", "position_shift", {}).measure(torch.from_numpy(output)[None], [example])
    assert rows.shape == (1, 1)
    assert rows.dtype == torch.float64
    return float(rows)


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (0, -2.5), (4.3, 7.1), (-12, 9)])
def test_a_thing_that_moved_is_found_where_it_went(dx: float, dy: float) -> None:
    moved = 0
    for scene in (make_scene(i, things_in_it=1) for i in range(60)):
        (thing,) = scene.things
        x, y, reach = thing.x + dx, thing.y + dy, 1.2 * thing.radius
        if not (reach < min(x, y) and max(x, y) < IMAGE_SIZE - reach):
            continue  # cut by the border it would have another centroid
        start = replace(thing, x=min(max(thing.x, reach), IMAGE_SIZE - reach))
        if start.x != thing.x or not reach < thing.y < IMAGE_SIZE - reach:
            continue
        there = scene.with_thing(0, x=x, y=y).render()
        assert shift(there, scene.render()) == pytest.approx(math.hypot(dx, dy), abs=0.5)
        moved += 1
    assert moved >= 3


def test_another_shape_in_the_same_place_has_not_moved() -> None:
    for scene in (make_scene(i, things_in_it=1) for i in range(60)):
        (thing,) = scene.things
        if min(thing.x, thing.y, 64 - thing.x, 64 - thing.y) > 1.2 * thing.radius:
            shapes = [scene.with_thing(0, shape=shape).render() for shape in SHAPES]
            assert all(shift(image, shapes[0]) < 0.7 for image in shapes)


def test_a_thing_that_is_gone_counts_as_the_diagonal() -> None:
    scene = SCENES[0]
    assert shift(empty(scene).render(), scene.render()) == pytest.approx(DIAGONAL)
    everything = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert shift(everything, scene.render()) == pytest.approx(DIAGONAL)


def test_a_truth_without_things_is_refused_by_name() -> None:
    scene = SCENES[0]
    with pytest.raises(UserError, match="nothing stands out in the reference of example 'e'"):
        shift(scene.render(), empty(scene).render())
