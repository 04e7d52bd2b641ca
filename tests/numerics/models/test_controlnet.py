"""Control nets against diffusers' own pipeline, in float64."""

import pytest
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionControlNetPipeline,
)

from sde_edit.errors import UserError
from sde_edit.models.controlnet import ControlNet
from sde_edit.models.stable_diffusion import StableDiffusion
from tests.numerics.diffusers_pipelines import (
    CLOSE,
    STEPS,
    decode,
    diffusers_grid,
    latents,
    pipeline,
)


@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_control_net_agrees_with_diffusers_pipeline(tiny_model, tiny_control, guidance):
    source = ControlNet(str(tiny_model), 64, str(tiny_control), 0.7)
    model, grid = source.load("cpu", "float64"), diffusers_grid(source.schedule(), offset=1)
    start = latents(model.latent_shape)
    hints = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    hints[0, 20:24] = 255
    hints[1, :, 30:40] = 200
    with torch.inference_mode():
        eps = model.denoiser(["a b", "c"], guidance, ["d", "d"], hints_BHWC=hints)
        plain = StableDiffusion(str(tiny_model), 64).load("cpu", "float64")
        without = plain.denoiser(["a b", "c"], guidance, ["d", "d"])
    ours = decode("ode", eps, start, grid)
    assert (ours - decode("ode", without, start, grid)).abs().max() > 1e-2
    assert model.evaluations == (1 if guidance == 1 else 2) * 2 * STEPS

    pipe = pipeline(
        tiny_model,
        source.schedule(),
        StableDiffusionControlNetPipeline,
        controlnet=ControlNetModel.from_pretrained(tiny_control, dtype=torch.float64),
    )
    theirs = pipe(
        ["a b", "c"], image=hints.permute(0, 3, 1, 2).double() / 255, negative_prompt=["d", "d"],
        guidance_scale=guidance, controlnet_conditioning_scale=0.7, latents=start,
        height=64, width=64, num_inference_steps=STEPS, output_type="latent",
    ).images  # fmt: skip
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_control_net_is_in_the_digest_and_named_where_missing(tiny_model, tiny_control, tmp_path):
    source = ControlNet(str(tiny_model), 64, str(tiny_control))
    assert source.digest() != StableDiffusion(str(tiny_model), 64).digest()
    with pytest.raises(UserError, match=r"model\.control=.*no such folder"):
        ControlNet(str(tiny_model), 64, str(tmp_path / "nowhere")).digest()
    with pytest.raises(UserError, match=r"model\.control=.* lacks .*safetensors"):
        ControlNet(str(tiny_model), 64, str(tmp_path)).digest()
