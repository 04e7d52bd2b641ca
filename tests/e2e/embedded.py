"""Scenes of the embedded world, and what its recogniser answers."""

import numpy as np
import pytest
import torch

from sde_edit.imaging.shapes_world import SPLITS, make_scene
from sde_edit.networks.checkpoints import ASSETS
from sde_edit.networks.recogniser import ShapesCLIP

FOLDER = ASSETS / "shapes"


def scenes(n, start=5000):
    """Scenes of the test split that training never saw."""
    return [make_scene(index) for index in SPLITS["test"][start : start + n]]


def renders(some):
    """Their images, [N, 64, 64, 3]."""
    return torch.from_numpy(np.stack([scene.render() for scene in some]))


@pytest.fixture(scope="module")
def recogniser():
    return ShapesCLIP.from_pretrained(FOLDER / "recogniser")


def names(recogniser, images):
    """What the recogniser sees in each image."""
    with torch.inference_mode():
        return recogniser.recognise(images.permute(0, 3, 1, 2).float() / 127.5 - 1)


def right(scene, answer):
    """Whether the answer names every thing and the background."""
    things = {(thing.shape, thing.colour) for thing in scene.things}
    return answer == (things, scene.background)
