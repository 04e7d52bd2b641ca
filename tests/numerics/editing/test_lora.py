"""LoRAs that are fitted once and kept."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load, load_file

from sde_edit.api.example import Example
from sde_edit.api.model import LoraSettings
from sde_edit.config import experiment
from sde_edit.diffusion.noise import Noise
from sde_edit.editing.lora import LoraFit, to_safetensors
from sde_edit.errors import UserError
from sde_edit.models.stable_diffusion_xl import StableDiffusionXL
from sde_edit.networks.latent_diffusion import LoadedStableDiffusion
from sde_edit.store.preparation_cache import PreparationCache

PROMPTS = ["a red circle", "a blue star on green background"]
SETTINGS = LoraSettings(rank=2, rate=0.01, steps=3)
NOISE = Noise(0, ("a", "b"))


def always(value):
    return lambda t_R: torch.full_like(t_R, value, dtype=torch.float64)


@pytest.fixture
def model(tiny_model):
    return LoadedStableDiffusion(tiny_model, 64, torch.device("cpu"), torch.float64)


@pytest.fixture
def latents(model):
    return torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0)).double()


def fitted(model, x, rows=(0, 1), settings=SETTINGS):
    with torch.inference_mode():
        prompts = [PROMPTS[row] for row in rows]
        return model.fit_lora(x[list(rows)], prompts, settings, NOISE.of(rows))


def example(name, seed=0, caption="noise"):
    image = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    return Example(name, image, caption=caption)


def loras(settings=SETTINGS, prompt="p"):
    return LoraFit(prompt, settings)


def spec(tiny_model, **settings):
    changes = [f"{key}={value}" for key, value in settings.items()]
    base = ["task=drag", "sampler=sde", "data=shapes-drags", "dtype=float32"]
    return experiment([*base, f"model.path={tiny_model}", *changes]).spec


def test_what_is_fitted_once_serves_every_task_sampler_and_name(tmp_path, tiny_model):
    asked = []

    def fit(missing):
        asked.append(len(missing))
        adapter = {"layer.lora_A": torch.full((2, 3), float(len(asked)))}
        return [to_safetensors(adapter) for _ in missing]

    def fill(own, examples, prompt="p", settings=SETTINGS):
        filled = PreparationCache(tmp_path, own, loras(settings, prompt)).fill(examples, fit)
        return [float(adapter["layer.lora_A"][0, 0]) for adapter in filled]

    mine = spec(tiny_model)
    assert fill(mine, [example("a", 1), example("b", 2)]) == [1, 1]
    assert fill(mine, [example("c", 3), example("other name", 2)]) == [2, 1]
    assert fill(spec(tiny_model, sampler="ode", steps=7), [example("a", 1)]) == [1]
    assert fill(mine, [example("a", 1)], "another prompt") == [3]
    assert fill(spec(tiny_model, seed=1), [example("a", 1)]) == [4]
    assert fill(spec(tiny_model, dtype="bfloat16"), [example("a", 1)]) == [5]
    assert fill(mine, [example("a", 1)], settings=LoraSettings(2, 0.01, 4)) == [6]
    assert asked == [2, 1, 1, 1, 1, 1]
    two = [example("a", 1, "p"), example("a", 1, "q")]
    assert fill(mine, two, "{caption}") == [1, 7]


def test_a_fit_that_is_not_finite_is_named_and_not_kept(tmp_path, tiny_model, model, monkeypatch):
    broken = {"layer.lora_A": torch.tensor([[1.0, torch.nan]])}
    monkeypatch.setattr(model, "fit_lora", lambda x, prompts, settings, noise: [broken])
    cache = PreparationCache(tmp_path, spec(tiny_model), loras())
    with (
        torch.inference_mode(),
        pytest.raises(UserError, match=r"the third: .* smaller task\.lora_rate, or a dtype"),
    ):
        cache.fill([example("the third")], lambda some: loras().compute(some, model, None, NOISE))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_diffusers_pipelines_load_the_files(tmp_path, tiny_model, model, latents):
    cache = PreparationCache(tmp_path, spec(tiny_model), loras())
    adapters = [{n: w.float() for n, w in a.items()} for a in fitted(model, latents)]
    (filled,) = cache.fill([example("a")], lambda missing: [to_safetensors(adapters[0])])
    pipe = StableDiffusionPipeline.from_pretrained(tiny_model, safety_checker=None)
    (file,) = cache.folder.glob("*.safetensors")
    pipe.load_lora_weights(load_file(file))
    x, t = latents[:1].float(), torch.tensor([400])
    text = model.embed(PROMPTS[:1])
    with torch.inference_mode():
        theirs = pipe.unet(x, t, text.float()).sample
        with model.adapted([filled], always(1.0)):
            ours = model.attend(x.double(), t, text)
    torch.testing.assert_close(theirs.double(), ours, rtol=0, atol=1e-4)


def test_diffusers_pipeline_of_sdxl_loads_them_too(tiny_xl, latents):
    model = StableDiffusionXL(str(tiny_xl), 64).load("cpu", "float64")
    (adapter, _) = fitted(model, latents)
    pipe = StableDiffusionXLPipeline.from_pretrained(tiny_xl, dtype=torch.float64)
    pipe.load_lora_weights(load(to_safetensors(adapter)))
    x, t = latents[:1], torch.tensor([400])
    with torch.inference_mode():
        text, _, pooled, _ = pipe.encode_prompt(PROMPTS[0], None, "cpu", 1, False)
        sizes = torch.tensor([[64, 64, 0, 0, 64, 64]])
        condition = {"text_embeds": pooled, "time_ids": sizes}
        theirs = pipe.unet(x, t, text, added_cond_kwargs=condition).sample
        with model.adapted([adapter], always(1.0)):
            ours = model.attend(x, t, model.embed(PROMPTS[:1]))
        plain = model.attend(x, t, model.embed(PROMPTS[:1]))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-10)
    assert (ours - plain).abs().max() > 1e-4
