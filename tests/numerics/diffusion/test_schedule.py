"""Grids, against diffusers."""

import math

import numpy as np
import pytest
from diffusers import DPMSolverMultistepScheduler

from tests.numerics.samplers.inputs import CONFIG, SCHEDULE


@pytest.mark.parametrize("last_sigma", ["sigma_min", "zero"])
@pytest.mark.parametrize("steps", [10, 25, 50, 100])
def test_linspace_times_are_those_of_the_paper(steps, last_sigma):
    """diffusers' DPM-Solver with sigma_min, as the published inpainting code runs it."""
    scheduler = DPMSolverMultistepScheduler(**CONFIG, final_sigmas_type=last_sigma)
    scheduler.set_timesteps(steps)
    grid = SCHEDULE.grid(steps, "linspace", last_sigma)
    assert scheduler.timesteps.tolist() == list(grid.t[:-1])
    sigmas = [math.sqrt((1 - a) / a) for a in grid.alpha]
    np.testing.assert_allclose(scheduler.sigmas.numpy(), sigmas, rtol=2e-5, atol=1e-7)
