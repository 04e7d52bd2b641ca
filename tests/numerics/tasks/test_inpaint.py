"""The inpainting task against diffusers' own pipeline, and the geometry of its masks."""

import dataclasses

import numpy as np
import pytest
import torch

from sde_edit.datasets.shapes import Shapes
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.editing.batch import to_latent_size
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.registry import build
from sde_edit.tasks.inpaint import Inpaint, composite

IDS = ("test-000000", "test-000001")


class Recorded:
    """Hands diffusers our noise: `randn_tensor` is where its pipelines draw theirs."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def __call__(self, shape, generator=None, device=None, dtype=None, layout=None):
        noise = self.draws.pop(0)
        assert tuple(shape) == tuple(noise.shape)
        return noise.to(dtype)


@pytest.mark.parametrize("kind", ["ode", "sde", "ode2", "sde2"])
def test_agrees_with_diffusers_inpainting_pipeline(kind, tiny_model, monkeypatch):
    """The published code is this pipeline with DPM-Solver; it leaves the known region at the
    noisiest time to pure noise, so the comparison starts there too."""
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionInpaintPipeline

    steps = 16
    source = StableDiffusion(str(tiny_model), 64)
    model, noise = source.load("cpu", "float64"), Noise(5, IDS)
    grid = source.schedule().grid(steps)
    examples = [square_hole(Shapes().load(i)) for i in IDS]
    images = torch.from_numpy(np.stack([e.image for e in examples]))
    masks = torch.from_numpy(np.stack([e.mask for e in examples]))
    with torch.inference_mode():
        y_0 = model.encode(images)
        n = noise.like(y_0, "init")
        hidden = to_latent_size(masks, (8, 8))
        eps = model.denoiser(["a b", "c"], 7.5)

        def project(x, i):
            if i == 0:
                return x
            a = grid.alpha[i] if i < grid.steps else 1.0
            return torch.where(hidden, x, a**0.5 * y_0 + (1 - a) ** 0.5 * n)

        ours = build("samplers", kind, {}).decode(eps, n, grid, noise, project)

        pipe = StableDiffusionInpaintPipeline.from_pretrained(
            tiny_model,
            dtype=torch.float64,
            safety_checker=None,
            requires_safety_checker=False,
            feature_extractor=None,
        )
        pipe.scheduler = DPMSolverMultistepScheduler.from_config(
            pipe.scheduler.config,
            algorithm_type="sde-dpmsolver++" if kind.startswith("sde") else "dpmsolver++",
            solver_order=2 if kind.endswith("2") else 1,
            timestep_spacing="linspace",
            final_sigmas_type="sigma_min",
        )
        pipe.set_progress_bar_config(disable=True)
        steps_noise = [noise.like(n, "decode", i) for i in range(steps)]
        if kind.startswith("sde"):
            monkeypatch.setattr(
                "diffusers.schedulers.scheduling_dpmsolver_multistep.randn_tensor",
                Recorded(*steps_noise),
            )
        monkeypatch.setattr(
            "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint.randn_tensor",
            lambda *a, **k: n,
        )
        theirs = pipe(
            prompt=["a b", "c"],
            image=y_0,
            mask_image=masks[:, None].double(),
            masked_image_latents=torch.zeros_like(y_0),
            height=64,
            width=64,
            num_inference_steps=steps,
            guidance_scale=7.5,
            output_type="latent",
        ).images
    # diffusers keeps alpha_bar, sigmas and the state in float32; ours are float64.
    torch.testing.assert_close(ours, theirs.double(), rtol=2e-3, atol=2e-3)


def square_hole(example):
    """A hole along the borders of latent cells, where nearest and any-pixel masks agree."""
    mask = np.zeros((64, 64), np.float32)
    mask[16:40, 8:48] = 1
    return dataclasses.replace(example, mask=mask)


def test_composite_blends_soft_masks_and_keeps_known_pixels():
    original = torch.full((1, 1, 3, 3), 100, dtype=torch.uint8)
    edited = torch.full((1, 1, 3, 3), 200, dtype=torch.uint8)
    mask = torch.tensor([[[0.0, 0.5, 1.0]]])
    assert composite(edited, original, mask)[0, 0, :, 0].tolist() == [100, 150, 200]


class Identity:
    """A model whose latents are the pixels and whose eps is that of a known Gaussian."""

    evaluations = calls = 0

    def encode(self, images):
        return images.permute(0, 3, 1, 2).double() / 127.5 - 1

    def decode(self, x):
        return ((x + 1) * 127.5).clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)

    def denoiser(self, prompts, guidance, negatives=()):
        self.prompts = prompts
        return lambda x, t: torch.zeros_like(x)


@pytest.mark.parametrize("kind", ["ode", "sde", "ode2", "sde2"])
def test_known_region_ends_as_the_reference(kind):
    """Whatever the network says, known cells end as y_0, for any sampler."""
    examples = [square_hole(Shapes().load(i)) for i in IDS]
    grid = Grid((3.0, 2.0, 1.0, 0.0), (0.1, 0.4, 0.7, 0.99))
    model = Identity()
    task = Inpaint(prompt="photo of {caption}")
    images = task.edit(examples, model, build("samplers", kind, {}), grid, Noise(0, IDS))
    for image, example in zip(images.numpy(), examples, strict=True):
        known = example.mask == 0
        np.testing.assert_array_equal(image[known], example.image[known])
        assert (image[~known] != example.image[~known]).mean() > 0.5
    assert model.prompts == [f"photo of {e.caption}" for e in examples]
