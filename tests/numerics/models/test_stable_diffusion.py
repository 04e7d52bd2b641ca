"""Latent networks against diffusers' own pipelines, on the same random weights, in float64."""

import shutil

import pytest
import torch
from diffusers import (
    StableDiffusionPipeline,
)
from transformers import CLIPTokenizer

from sde_edit.errors import UserError
from sde_edit.models.stable_diffusion import StableDiffusion
from tests.numerics.diffusers_pipelines import (
    BARE,
    CLOSE,
    STEPS,
    change,
    decode,
    diffusers_grid,
    latents,
    pipeline,
)


@pytest.fixture
def v_model(tiny_model, tmp_path):
    """The tiny pipeline as Stable Diffusion 2.1 has it: predicts v, pads with "!"."""
    shutil.copytree(tiny_model, tmp_path, dirs_exist_ok=True)
    change(tmp_path / "scheduler/scheduler_config.json", prediction_type="v_prediction")
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "tokenizer")
    tokenizer.pad_token = "!"
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    return tmp_path


@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_v_prediction_agrees_with_diffusers(v_model, guidance):
    source = StableDiffusion(str(v_model), 64)
    model, grid = source.load("cpu", "float64"), diffusers_grid(source.schedule(), offset=1)
    start = latents(model.latent_shape)
    with torch.inference_mode():
        eps = model.denoiser(["a b", "c"], guidance, ["d", "d"])
    ours = decode("ode", eps, start, grid)
    pipe = pipeline(v_model, source.schedule())
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    theirs = pipe(
        ["a b", "c"], negative_prompt=["d", "d"], guidance_scale=guidance, latents=start,
        height=64, width=64, num_inference_steps=STEPS, output_type="latent",
    ).images  # fmt: skip
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_v_is_converted_at_the_time_of_each_row(v_model, tiny_model):
    v, plain = (StableDiffusion(str(f), 64).load("cpu", "float64") for f in (v_model, tiny_model))
    x, t = latents(v.latent_shape), torch.tensor([990.0, 10.0], dtype=torch.float64)
    with torch.inference_mode():
        text = v.embed(["a", "b"])
        said = plain._predict(x, t, text)
        a = torch.tensor([v.alpha_T[990], v.alpha_T[10]]).view(2, 1, 1, 1)
        expected = a.sqrt() * said + (1 - a).sqrt() * x
        torch.testing.assert_close(v._predict(x, t, text), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("folder", ["tiny_model", "v_model"])
def test_prompts_are_embedded_as_diffusers_does(folder, request):
    """Padding, truncation and the final layer norm included."""
    path = request.getfixturevalue(folder)
    prompts = ["a b", "", "c " * 40]
    pipe = StableDiffusionPipeline.from_pretrained(path, dtype=torch.float64, **BARE)
    model = StableDiffusion(str(path), 64).load("cpu", "float64")
    with torch.inference_mode():
        cond, null = pipe.encode_prompt(prompts, "cpu", 1, True, ["d"] * 3)
        torch.testing.assert_close(model.embed(prompts), cond, rtol=0, atol=1e-12)
        torch.testing.assert_close(model.embed(["d"] * 3), null, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("key", "value", "message"), [
    ("prediction_type", "sample", "known: epsilon, v_prediction"),
    ("rescale_betas_zero_snr", True, "rescale_betas_zero_snr is not supported"),
    ("trained_betas", [0.1], "trained_betas is not supported"),
])  # fmt: skip
def test_other_schedulers_are_refused(tiny_model, tmp_path, key, value, message):
    shutil.copytree(tiny_model, tmp_path, dirs_exist_ok=True)
    change(tmp_path / "scheduler/scheduler_config.json", **{key: value})
    with pytest.raises(UserError, match=message):
        StableDiffusion(str(tmp_path), 64).schedule()
