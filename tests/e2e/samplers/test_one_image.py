"""One image alone comes back as exactly as a batch does, on the embedded network."""

import pytest
import torch

from sde_edit.datasets.shapes_edits import ShapesEdits
from sde_edit.diffusion.noise import Noise
from sde_edit.editing.batch import images
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.registry import build


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("sampler", ["sde", "ef", "sde2"])
def test_an_unedited_image_comes_back_in_every_bit(sampler, dtype):
    source = StableDiffusion("embedded:shapes", 64)
    model, grid = source.load("cpu", dtype), source.schedule().grid(6)
    examples, noise = [ShapesEdits().load("test-000000")], Noise(0, ("test-000000",))
    method = build("samplers", sampler, {})
    with torch.inference_mode():
        eps = model.denoiser([examples[0].caption], 7.5)
        x_0 = model.encode(images(examples))
        inversion = method.encode(eps, x_0, grid, noise)
        x = method.decode(eps, inversion.latent, grid, noise, inversion=inversion)
    assert torch.equal(x, x_0)
