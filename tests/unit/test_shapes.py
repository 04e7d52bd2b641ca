"""Wrong shapes and dtypes at the edges of plug-ins are caught while the tests run."""

import pytest
import torch
from jaxtyping import TypeCheckError

from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.schedule import Schedule
from sde_edit.registry import build
from tests.shapes import metric_measures, sampler_decodes, sampler_encodes, watched

GRID = Schedule.from_betas("linear", 0.0001, 0.02, 1000).grid(4)
STATE = torch.zeros(2, 4, 8, 8)
IMAGES = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)


def test_a_sampler_that_returns_another_shape():
    decode = watched(lambda x_BCHW: x_BCHW[:, :1], sampler_decodes)
    with pytest.raises(TypeCheckError, match="result"):
        decode(STATE)


def test_the_registered_samplers_are_watched():
    sampler = build("samplers", "none", {})
    assert sampler.decode(None, STATE, GRID, None) is STATE
    with pytest.raises(TypeCheckError, match="x_BCHW"):
        sampler.decode(None, STATE.int(), GRID, None)


def test_a_method_that_gives_another_shape_or_dtype():
    def rows(images_BHWC, examples):
        return examples

    measure = watched(rows, metric_measures)
    good = torch.zeros(2, 1, dtype=torch.float64)
    assert measure(IMAGES, good) is good
    for bad in (good[:1], good[:, 0], good.float()):
        with pytest.raises(TypeCheckError, match="result"):
            measure(IMAGES, examples=bad)


def test_states_of_an_inversion_are_checked_one_by_one():
    good, bad = STATE[None], STATE[None, :1]
    sampler_encodes(STATE, Inversion(good, (good,)))
    with pytest.raises(TypeCheckError, match="states_TBCHW"):
        sampler_encodes(STATE, Inversion(good, (bad,)))
