"""A network whose attention matters."""

import pytest

from sde_edit.models.stable_diffusion import StableDiffusion


@pytest.fixture(scope="session")
def sharpened_model(tiny_model):
    """The tiny pipeline with its attention sharpened: that of random weights is nearly even."""
    loaded = StableDiffusion(str(tiny_model), 64).load("cpu", "float64")
    for name, weights in loaded.unet.named_parameters():
        if "to_q" in name or "to_k" in name or "to_v" in name or "to_out.0.linear.weight" in name:
            weights.mul_(3)
    return loaded
