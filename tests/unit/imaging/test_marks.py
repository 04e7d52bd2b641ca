"""Marks are drawn where they belong, and nowhere else."""

from __future__ import annotations

import numpy as np

from sde_edit.api.example import Drag
from sde_edit.imaging.marks import enlarged, marked
from tests.builders import grey

RED = np.full((64, 64, 3), (200, 0, 0), np.uint8)


def changed(picture, image, factor):
    """Where the picture differs from the enlarged image."""
    return (np.asarray(picture) != np.asarray(enlarged(image, factor))).any(axis=-1)


def test_an_image_without_marks_is_only_enlarged():
    picture = marked(RED, drags=(), mask=None, factor=4)
    assert picture.size == (256, 256)
    assert not changed(picture, RED, 4).any()


def test_outline_runs_along_the_inner_edge_of_the_mask():
    mask = np.zeros((64, 64), np.float32)
    mask[16:48, 8:40] = 1
    found = changed(marked(RED, drags=(), mask=mask, factor=4), RED, 4)
    rows, columns = np.nonzero(found)
    assert (rows.min(), rows.max()) == (64, 191)
    assert (columns.min(), columns.max()) == (32, 159)
    assert not found[80:176, 48:144].any()
    assert found[64:67, 32:160].all()


def test_a_mask_of_everything_has_no_outline():
    everything = np.ones((64, 64), np.float32)
    assert not changed(marked(RED, drags=(), mask=everything, factor=2), RED, 2).any()


def test_an_arrow_goes_from_source_to_target():
    drag = Drag((10.0, 32.0), (50.0, 32.0))
    picture = np.asarray(marked(RED, drags=[drag], mask=None, factor=4))
    assert (picture[128, 40:200] == 255).all()
    found = changed(picture, RED, 4)
    assert not found[:90].any()
    assert not found[:, :20].any()
    assert not found[:, 220:].any()


def test_the_given_image_stays_as_it_is():
    image = grey(7)
    marked(image, drags=[Drag((1.0, 1.0), (60.0, 60.0))], mask=None, factor=1)
    assert (image == 7).all()
