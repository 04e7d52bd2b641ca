"""Models against diffusers' own pipelines, on the same random weights, in float64."""

import json
import shutil

import pytest
import torch
from diffusers import (
    ControlNetModel,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    UNet2DModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.errors import UserError
from sde_edit.models.controlnet import ControlNet
from sde_edit.models.ddpm import DDPM
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.networks.base import alpha_at
from sde_edit.registry import build

IDS = ("a", "b")
NOISE = Noise(3, IDS)
STEPS = 5
CLOSE = {"rtol": 1e-8, "atol": 1e-8}
BARE = {"safety_checker": None, "requires_safety_checker": False, "feature_extractor": None}


def in_float64(scheduler, schedule):
    """Give a diffusers scheduler our alpha_bar: its own table is float32."""
    alpha = torch.tensor(schedule.alpha, dtype=torch.float64)
    scheduler.alphas_cumprod = alpha
    scheduler.alphas = alpha / torch.cat([torch.ones(1, dtype=torch.float64), alpha[:-1]])
    scheduler.betas = 1 - scheduler.alphas
    scheduler.one = scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    return scheduler


def diffusers_grid(schedule, offset=0):
    """Their "leading" times; the last step starts at the least noisy time and ends at alpha = 1."""
    times = [k * (1000 // STEPS) + offset for k in range(STEPS)][::-1]
    alpha = [schedule.alpha[t] for t in times]
    return Grid((*map(float, times), 0.0), (*alpha, 1.0))


def decode(kind, eps, x, grid):
    with torch.inference_mode():
        return build("samplers", kind, {}).decode(eps, x, grid, NOISE)


def latents(shape):
    return NOISE.like(torch.empty(len(IDS), *shape, dtype=torch.float64), "init")


class Recorded:
    """Hands diffusers our noise, in the order of the draws."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def __call__(self, shape, generator=None, device=None, dtype=None, layout=None):
        return self.draws.pop(0).to(dtype)


# ------------------------------------------------------------------ DDPM


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


def change(file, **settings):
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


# ------------------------------------------------------------------ Stable Diffusion 2


@pytest.fixture
def v_model(tiny_model, tmp_path):
    """The tiny pipeline as Stable Diffusion 2.1 has it: predicts v, pads with "!"."""
    shutil.copytree(tiny_model, tmp_path, dirs_exist_ok=True)
    change(tmp_path / "scheduler/scheduler_config.json", prediction_type="v_prediction")
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "tokenizer")
    tokenizer.pad_token = "!"
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    return tmp_path


def pipeline(folder, schedule, cls=StableDiffusionPipeline, **parts):
    pipe = cls.from_pretrained(folder, dtype=torch.float64, **BARE, **parts)
    config = {"clip_sample": False, "set_alpha_to_one": True, "steps_offset": 0}
    pipe.scheduler = in_float64(
        DDIMScheduler.from_config(pipe.scheduler.config, **config), schedule
    )
    pipe.scheduler.register_to_config(steps_offset=1)  # the pipeline insists; ours is set below
    pipe.set_progress_bar_config(disable=True)
    return pipe


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


def test_alpha_between_train_times_is_log_linear():
    table = torch.tensor([0.9, 0.4, 0.1], dtype=torch.float64)
    alpha = alpha_at(table, torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)).flatten()
    torch.testing.assert_close(alpha, torch.tensor([0.9, 0.6, 0.1], dtype=torch.float64))


# ------------------------------------------------------------------ control nets


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
