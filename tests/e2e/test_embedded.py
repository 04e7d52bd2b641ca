"""The shipped weights: they load the standard way, and are what the model card says."""

import numpy as np
import pytest
import torch

from sde_edit.diffusion.noise import Noise
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.networks.recogniser import ShapesCLIP
from sde_edit.registry import build
from tests.e2e.embedded import FOLDER, names, renders, right, scenes


@pytest.fixture(scope="module")
def model():
    return StableDiffusion("embedded:shapes", 64).load("cpu", "float32")


@pytest.fixture(scope="module")
def recogniser():
    return ShapesCLIP.from_pretrained(FOLDER / "recogniser")


def test_any_diffusers_pipeline_loads_it():
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(FOLDER)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    image = pipe("a red circle", num_inference_steps=2, generator=generator, output_type="np")
    assert image.images.shape == (1, 64, 64, 3)
    assert pipe.scheduler.config.beta_schedule == "scaled_linear"


def test_weights_are_small_enough_to_ship():
    assert sum(f.stat().st_size for f in FOLDER.rglob("*.safetensors")) <= 30e6


def test_autoencoder(model):
    images = renders(scenes(64))
    with torch.inference_mode():
        again = model.decode(model.encode(images))
    error = ((again.float() - images.float()) / 255).square().mean(dim=(1, 2, 3))
    assert float((-10 * error.log10()).mean()) >= 36


@pytest.mark.parametrize("kind", ["ode", "sde"])
def test_samples_carry_their_caption(model, recogniser, kind):
    """The small version of `make shapes-card`, which measures 500 samples at 50 steps."""
    some = scenes(16)
    grid = StableDiffusion("embedded:shapes", 64).schedule().grid(10)
    noise = Noise(0, tuple(f"{i}" for i in range(16)))
    with torch.inference_mode():
        x = noise.like(torch.empty(16, 4, 16, 16), "init")
        eps = model.denoiser([scene.caption() for scene in some], 3.0)
        images = model.decode(
            build("samplers", kind, {}).decode(eps, x, grid, noise, lambda x, i: x)
        )
    answers = names(recogniser, images)
    assert np.mean([right(s, a) for s, a in zip(some, answers, strict=True)]) >= 0.75
