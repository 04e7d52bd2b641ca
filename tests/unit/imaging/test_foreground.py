"""What stands out from the background, on scenes whose things are known, and its shift."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from sde_edit.imaging.foreground import background, centroid, foreground
from sde_edit.imaging.shapes_world import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    Pixels,
    Scene,
    Thing,
    make_scene,
)

SCENES = [make_scene(i) for i in range(60)]


def empty(scene: Scene) -> Scene:
    return replace(scene, things=())


def noisy(image: Pixels, sigma: float = 6.0) -> Pixels:
    noise = np.random.default_rng(0).normal(0, sigma, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


# ------------------------------------------------------------------ what stands out


def test_the_background_is_that_of_the_scene_without_its_things() -> None:
    """Far closer than the threshold, though corners of things reach the border."""
    for scene in SCENES:
        plain = empty(scene).render().astype(float)
        assert np.abs(background(scene.render()) - plain).max() < 16
        assert np.abs(background(noisy(scene.render())) - plain).max() < 24


def test_a_background_that_is_cut_off_is_found_all_the_same() -> None:
    """Where it would be brighter than 255, no plane fits what is seen."""
    scene = Scene((), "white", light=0.7, contrast=0.26)
    assert (scene.render() == 255).mean() > 0.1
    assert np.abs(background(scene.render()) - scene.render()).max() < 3


@pytest.mark.parametrize("make_image", [Scene.render, lambda scene: noisy(scene.render())])
def test_what_stands_out_are_the_things(make_image) -> None:
    for scene in SCENES:
        found = foreground(make_image(scene))
        assert found[scene.masks().any(axis=0)].mean() > 0.97
        assert not found[scene.coverage().max(axis=0) == 0].any()


def test_every_colour_stands_out_from_every_background() -> None:
    for name, behind in ((c, b) for c in COLOURS for b in BACKGROUNDS if c != b):
        thing = Thing("square", name, x=30.0, y=35.0, radius=14.0, angle=0.3)
        scene = Scene((thing,), behind, light=1.0, contrast=0.26)
        x, y = centroid(foreground(scene.render())) or (0.0, 0.0)
        assert math.hypot(x - 30, y - 35) < 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_the_centroid_is_the_centre(shape: str) -> None:
    thing = Thing(shape, "red", x=23.3, y=40.6, radius=15.0, angle=0.4)
    image = Scene((thing,), "blue", light=2.0, contrast=0.2).render()
    x, y = centroid(foreground(image)) or (0.0, 0.0)
    assert math.hypot(x - 23.3, y - 40.6) < 0.35


def test_of_a_bare_background_nothing_stands_out() -> None:
    for scene in SCENES[:40]:
        assert not foreground(noisy(empty(scene).render())).any()
    assert centroid(np.zeros((8, 8), dtype=bool)) is None


def test_a_speck_is_no_thing() -> None:
    image = empty(SCENES[0]).render()
    image[30:33, 30:33] = 255 - image[30:33, 30:33]
    assert not foreground(image).any()
    image[28:36, 28:36] = 255 - SCENES[0].render()[28:36, 28:36]
    assert foreground(image).any()


def test_a_picture_without_a_background_has_nothing_that_stands_out() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert not foreground(image).any()


def test_every_scene_has_something_that_stands_out() -> None:
    assert all(foreground(scene.render()).any() for scene in SCENES)
