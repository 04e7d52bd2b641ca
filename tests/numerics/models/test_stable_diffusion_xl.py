"""SDXL against diffusers' own pipeline, on the same random weights, in float64."""

import shutil

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from sde_edit.errors import NotFiniteError, UserError
from sde_edit.models.stable_diffusion_xl import StableDiffusionXL
from tests.numerics.diffusers_pipelines import (
    CLOSE,
    STEPS,
    change,
    decode,
    diffusers_grid,
    latents,
    pipeline,
)

PROMPTS = ["a b!", "c " * 40]
EXACT = {"rtol": 0, "atol": 1e-12}


@pytest.fixture
def model(tiny_xl):
    return StableDiffusionXL(str(tiny_xl), 64).load("cpu", "float64")


@pytest.fixture
def encodes_empty(tiny_xl, tmp_path):
    """The tiny pipeline, whose empty prompt is a text as any other."""
    shutil.copytree(tiny_xl, tmp_path, dirs_exist_ok=True)
    change(tmp_path / "model_index.json", force_zeros_for_empty_prompt=False)
    return tmp_path


@pytest.mark.parametrize(("file", "key"), [
    ("model_index.json", "force_zeros_for_empty_prompt"), ("vae/config.json", "force_upcast"),
])  # fmt: skip
def test_a_switch_that_is_no_switch_is_refused(tiny_xl, tmp_path, file, key):
    shutil.copytree(tiny_xl, tmp_path, dirs_exist_ok=True)
    change(tmp_path / file, **{key: "no"})
    with pytest.raises(UserError, match=rf"{file}: {key} is 'no': it must be true or false"):
        StableDiffusionXL(str(tmp_path), 64).load("cpu", "float64")


def reference(folder):
    schedule = StableDiffusionXL(str(folder), 64).schedule()
    return pipeline(folder, schedule, StableDiffusionXLPipeline, add_watermarker=False)


def encoded(pipe, negatives):
    """diffusers' embeddings of the prompts and of the negatives, packed as ours."""
    text, null, pooled, null_pooled = pipe.encode_prompt(PROMPTS, None, "cpu", 1, True, negatives)
    return packed(text, pooled), packed(null, null_pooled)


def packed(text_BKD, pooled_BP):
    last = torch.zeros_like(text_BKD[:, :1])
    last[:, 0, : pooled_BP.shape[1]] = pooled_BP
    return torch.cat([text_BKD, last], dim=1)


@pytest.mark.parametrize("negatives", [None, ["d", "d e"]])
def test_prompts_are_embedded_as_diffusers_does(tiny_xl, model, negatives):
    """Both encoders, the pooled embedding, padding, truncation; no negative prompt is zero."""
    with torch.inference_mode():
        text, null = encoded(reference(tiny_xl), negatives)
        torch.testing.assert_close(model.embed(PROMPTS), text, **EXACT)
        torch.testing.assert_close(model.embed(negatives or ["", ""]), null, **EXACT)
    assert text[0].ne(0).any()
    assert bool(null.any()) == (negatives is not None)


def test_the_empty_prompt_is_a_text_where_the_pipeline_says_so(encodes_empty):
    model = StableDiffusionXL(str(encodes_empty), 64).load("cpu", "float64")
    with torch.inference_mode():
        _, null = encoded(reference(encodes_empty), None)
        torch.testing.assert_close(model.embed(["", ""]), null, **EXACT)
    assert null.any()


def test_whether_the_empty_prompt_is_zero_is_in_the_digest(tiny_xl, encodes_empty):
    there, here = (StableDiffusionXL(str(f), 64).digest() for f in (tiny_xl, encodes_empty))
    assert there != here


def test_the_network_is_told_sizes_and_pooled_embedding(tiny_xl, model):
    """At 64x96: original size, corner of the crop and target size, each (y, x)."""
    unet = UNet2DConditionModel.from_pretrained(tiny_xl / "unet", dtype=torch.float64)
    x, t = latents((4, 8, 12)), torch.tensor([900.0, 20.0], dtype=torch.float64)
    with torch.inference_mode():
        text, _, pooled, _ = reference(tiny_xl).encode_prompt(PROMPTS, None, "cpu", 1, False)
        condition = {"text_embeds": pooled, "time_ids": torch.tensor([[64, 96, 0, 0, 64, 96]] * 2)}
        expected = unet(x, t, text, added_cond_kwargs=condition).sample
        found = model.denoiser(PROMPTS, 1.0)(x, t)
        square = condition | {"time_ids": torch.tensor([[64, 64, 0, 0, 64, 64]] * 2)}
        other = unet(x, t, text, added_cond_kwargs=square).sample
    torch.testing.assert_close(found, expected, **EXACT)
    assert (other - expected).abs().max() > 1e-3


@pytest.mark.parametrize("negatives", [None, ["d", "d"]])
@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_samples_are_those_of_diffusers_pipeline(tiny_xl, model, guidance, negatives):
    grid = diffusers_grid(StableDiffusionXL(str(tiny_xl), 64).schedule(), offset=1)
    start = latents((4, 8, 12))
    with torch.inference_mode():
        eps = model.denoiser(PROMPTS, guidance, negatives or ())
    ours = decode("ode", eps, start, grid)
    assert model.evaluations == (1 if guidance == 1 else 2) * 2 * STEPS
    theirs = reference(tiny_xl)(
        PROMPTS, negative_prompt=negatives, guidance_scale=guidance, latents=start,
        height=64, width=96, num_inference_steps=STEPS, output_type="latent",
    ).images  # fmt: skip
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_pictures_are_those_of_the_autoencoder(tiny_xl, model):
    vae = AutoencoderKL.from_pretrained(tiny_xl / "vae", dtype=torch.float64)
    x = latents((4, 8, 12))
    with torch.inference_mode():
        levels = (127.5 * (vae.decode(x / 0.13025).sample + 1)).clamp(0, 255).permute(0, 2, 3, 1)
        ours = model.decode(x)
        assert (ours - levels).abs().max() <= 0.5 + 1e-3
        mean = vae.encode(ours.permute(0, 3, 1, 2).double() / 127.5 - 1).latent_dist.mean
        torch.testing.assert_close(model.encode(ours), 0.13025 * mean, **CLOSE)


# ------------------------------------------------------------------ the dtype of the autoencoder


@pytest.fixture
def loud(tiny_xl, tmp_path):
    """The tiny pipeline with activations of the decoder that float16 cannot hold; a group norm
    brings them back, so that the picture stays the same."""
    shutil.copytree(tiny_xl, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "vae/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    for name in ("decoder.conv_in.weight", "decoder.conv_in.bias"):
        tensors[name] *= 1e6
    save_file(tensors, file)
    return tmp_path


def decoded(folder, dtype):
    model = StableDiffusionXL(str(folder), 64).load("cpu", dtype)
    with torch.inference_mode():
        return model.decode(latents((4, 8, 8))), model.vae.dtype


def test_the_autoencoder_is_float32_where_float16_would_overflow(loud):
    half, dtype = decoded(loud, "float16")
    assert dtype == torch.float32
    assert torch.equal(half, decoded(loud, "float32")[0])
    change(loud / "vae/config.json", force_upcast=False)
    with pytest.raises(NotFiniteError, match="NaN or infinity in float16"):
        decoded(loud, "float16")


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_otherwise_it_has_the_dtype_of_the_network(tiny_xl, dtype):
    assert decoded(tiny_xl, dtype)[1] == getattr(torch, dtype)
