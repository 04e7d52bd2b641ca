"""Pixel networks against diffusers' own pipelines, on the same random weights, in float64."""

import shutil

import pytest
import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    UNet2DModel,
)
from safetensors.torch import load_file, save_file

from sde_edit.errors import UserError
from sde_edit.models.ddpm import DDPM
from tests.numerics.diffusers_pipelines import (
    CLOSE,
    NOISE,
    STEPS,
    Recorded,
    change,
    decode,
    diffusers_grid,
    in_float64,
    latents,
)


@pytest.fixture(params=["pipeline", "flat", "bin"])
def ddpm_folder(request, tiny_ddpm, tmp_path):
    """The layout of DDPMPipeline, that of google/ddpm-*, and the latter with a .bin only."""
    if request.param == "pipeline":
        return tiny_ddpm
    for name in ("unet", "scheduler"):
        shutil.copytree(tiny_ddpm / name, tmp_path, dirs_exist_ok=True)
    if request.param == "bin":
        (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
        weights = UNet2DModel.from_pretrained(tiny_ddpm / "unet").state_dict()
        torch.save(weights, tmp_path / "diffusion_pytorch_model.bin")
    return tmp_path


@pytest.mark.parametrize("kind", ["ode", "sde"])
def test_ddpm_agrees_with_diffusers_ddim_pipeline(kind, ddpm_folder, tiny_ddpm, monkeypatch):
    source = DDPM(str(ddpm_folder), 16)
    model, grid = source.load("cpu", "float64"), diffusers_grid(source.schedule())
    start = latents(model.latent_shape)
    ours = decode(kind, model.denoiser(["", ""], 1.0), start, grid)
    assert (model.evaluations, model.calls) == (2 * STEPS, STEPS)

    pipe = DDIMPipeline.from_pretrained(tiny_ddpm, dtype=torch.float64)
    pipe.scheduler = in_float64(DDIMScheduler(clip_sample=False), source.schedule())
    pipe.set_progress_bar_config(disable=True)
    draws = [NOISE.like(start, "decode", i) for i in range(STEPS)]
    monkeypatch.setattr("diffusers.pipelines.ddim.pipeline_ddim.randn_tensor", Recorded(start))
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddim.randn_tensor", Recorded(*draws))
    theirs = pipe(2, eta=float(kind == "sde"), num_inference_steps=STEPS, output_type="np").images
    expected = (ours / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(expected, torch.from_numpy(theirs).double(), **CLOSE)


def test_sde_on_ddpm_agrees_with_diffusers_ddpm_pipeline(tiny_ddpm, monkeypatch):
    source = DDPM(str(tiny_ddpm), 16)
    model, grid = source.load("cpu", "float64"), diffusers_grid(source.schedule())
    start = latents(model.latent_shape)
    ours = decode("sde", model.denoiser(["", ""], 1.0), start, grid)

    pipe = DDPMPipeline.from_pretrained(tiny_ddpm, dtype=torch.float64)
    scheduler = DDPMScheduler(clip_sample=False, variance_type="fixed_small")
    pipe.scheduler = in_float64(scheduler, source.schedule())
    pipe.set_progress_bar_config(disable=True)
    draws = [NOISE.like(start, "decode", i) for i in range(STEPS)]
    monkeypatch.setattr("diffusers.pipelines.ddpm.pipeline_ddpm.randn_tensor", Recorded(start))
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", Recorded(*draws))
    theirs = pipe(2, num_inference_steps=STEPS, output_type="np").images
    expected = (ours / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(expected, torch.from_numpy(theirs).double(), **CLOSE)


def test_ddpm_digest_is_of_the_weights(ddpm_folder, tiny_ddpm, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(ddpm_folder, copy)
    assert DDPM(str(copy), 16).digest() == DDPM(str(ddpm_folder), 16).digest()
    config = next(copy.glob("**/scheduler_config.json"))
    config.write_text(config.read_text().replace("0.02", "0.03"))
    assert DDPM(str(copy), 16).digest() != DDPM(str(ddpm_folder), 16).digest()


def test_an_unconditional_model_takes_neither_prompt_nor_guidance(tiny_ddpm):
    model = DDPM(str(tiny_ddpm), 16).load("cpu", "float32")
    with pytest.raises(UserError, match="'a cat': an unconditional model"):
        model.denoiser(["", "a cat"], 1.0)
    with pytest.raises(UserError, match="unconditional"):
        model.denoiser([""], 1.0, ["ugly"])
    with pytest.raises(UserError, match=r"task\.guidance=1"):
        model.denoiser([""], 7.5)


@pytest.mark.parametrize(("key", "value", "message"), [
    ("num_class_embeds", 10, "class labels"),
    ("out_channels", 6, "must be 3 and 3"),
    ("_class_name", "UNet1DModel", "must be a UNet2DModel"),
])  # fmt: skip
def test_ddpm_refuses_other_networks(tiny_ddpm, tmp_path, key, value, message):
    shutil.copytree(tiny_ddpm, tmp_path, dirs_exist_ok=True)
    change(tmp_path / "unet/config.json", **{key: value})
    with pytest.raises(UserError, match=message):
        DDPM(str(tmp_path), 16).load("cpu", "float32")


def test_ddpm_names_what_is_missing(tiny_ddpm, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        DDPM(str(tmp_path / "nowhere"), 16).digest()
    shutil.copytree(tiny_ddpm, tmp_path, dirs_exist_ok=True)
    (tmp_path / "unet/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks diffusion_pytorch_model\.safetensors"):
        DDPM(str(tmp_path), 16).digest()
    (tmp_path / "scheduler/scheduler_config.json").unlink()
    with pytest.raises(UserError, match=r"scheduler_config\.json is missing"):
        DDPM(str(tmp_path), 16).schedule()


def test_weights_that_lack_a_tensor_are_refused(tiny_ddpm, tmp_path):
    """diffusers would fill it with random numbers and only log a warning."""
    shutil.copytree(tiny_ddpm, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "unet/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["conv_in.weight"]
    save_file(weights, file)
    with pytest.raises(UserError, match=r"lack 1 tensors of the network, such as conv_in\.weight"):
        DDPM(str(tmp_path), 16).load("cpu", "float32")


def test_attention_weights_by_their_old_names_are_read(tiny_ddpm, tmp_path):
    """As in the google/ddpm-* repositories."""
    shutil.copytree(tiny_ddpm, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "unet/diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(file)
    for new, former in old.items():
        assert any(new in key for key in weights)
        weights = {key.replace(new, former): value for key, value in weights.items()}
    save_file(weights, file)
    x, t = latents((3, 16, 16)), torch.tensor([9.0, 9.0])
    both = [DDPM(str(f), 16).load("cpu", "float64") for f in (tmp_path, tiny_ddpm)]
    with torch.inference_mode():
        torch.testing.assert_close(*(m.denoiser(["", ""], 1)(x, t) for m in both), rtol=0, atol=0)
