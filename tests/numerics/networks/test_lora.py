"""LoRA of single images: peft's own network and a plain fit beside ours, and who shares what."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig

from sde_edit.api.model import LoraSettings
from sde_edit.diffusion.noise import Noise
from sde_edit.networks.latent_diffusion import LoadedStableDiffusion

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


def eps(model, x, prompts=PROMPTS, t=400):
    with torch.inference_mode():
        return model.denoiser(prompts, 3.0)(x, torch.full((len(x),), t))


def fitted(model, x, rows=(0, 1), settings=SETTINGS):
    with torch.inference_mode():
        prompts = [PROMPTS[row] for row in rows]
        return model.fit_lora(x[list(rows)], prompts, settings, NOISE.of(rows))


def plain_unet(folder, adapter):
    """The UNet with peft's own LoRA layers, which hold the weights of one image."""
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float64)
    unet.requires_grad_(False)
    rank = next(w for name, w in adapter.items() if name.endswith("lora_A")).shape[0]
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=["to_q", "to_k", "to_v", "to_out.0"]
    )
    unet.add_adapter(config, "plain")
    for name, weight in adapter.items():
        unet.get_submodule(name)["plain"].weight.data = weight.clone()
    return unet


def test_a_row_has_the_network_of_its_own_lora_at_the_scale_of_its_own_time(
    tiny_model, model, latents
):
    adapters = fitted(model, latents)
    x, t = torch.cat([latents, latents + 1]), torch.tensor([100, 200, 300, 400])
    text = model.embed(PROMPTS * 2)
    with torch.inference_mode(), model.adapted(adapters, lambda t_R: 1 - t_R / 800):
        together = model.attend(x, t, text)
    for row in range(4):
        unet = plain_unet(tiny_model, adapters[row % 2])
        unet.set_adapters("plain", 1 - float(t[row]) / 800)
        one = slice(row, row + 1)
        alone = unet(x[one], t[one], text[one]).sample
        torch.testing.assert_close(together[one], alone, rtol=0, atol=1e-9)


def test_the_fit_is_adamw_on_the_loss_of_the_network(tiny_model, model, latents):
    """Written out for one image, with peft's own layers."""
    noise, x_0 = NOISE.of([1]), latents[1:]
    first = fitted(model, latents, rows=[1], settings=LoraSettings(2, 0.01, 0))[0]
    assert all(bool(w.any()) == name.endswith("lora_A") for name, w in first.items())
    unet = plain_unet(tiny_model, first)
    weights = [p for n, p in unet.named_parameters() if "plain" in n]
    text = model.embed(PROMPTS[1:]).detach()
    adam = torch.optim.AdamW(weights, lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    for step in range(3):
        e = noise.like(x_0, "lora", step)
        normal = float(noise.like(x_0.new_zeros(1, 1), "lora time", step))
        t = int(1000 * 0.5 * (1 + torch.erf(torch.tensor(normal / 2**0.5, dtype=torch.float64))))
        x_t = model.alpha_T[t] ** 0.5 * x_0 + (1 - model.alpha_T[t]) ** 0.5 * e
        adam.zero_grad()
        ((unet(x_t, torch.tensor([t]), text).sample - e) ** 2).mean().backward()
        adam.step()
    for name, weight in fitted(model, latents)[1].items():
        plain = unet.get_submodule(name)["plain"].weight
        torch.testing.assert_close(weight, plain, rtol=0, atol=1e-9)


def test_a_fit_lowers_the_loss_of_its_own_image(model, latents):
    settings = LoraSettings(rank=4, rate=0.01, steps=30)
    adapters = fitted(model, latents, settings=settings)
    e = NOISE.like(latents, "another")
    x, t = 0.8 * latents + 0.6 * e, torch.tensor([300, 300])

    def loss(own):
        with torch.inference_mode(), model.adapted(own, always(1.0)):
            return (model.attend(x, t, model.embed(PROMPTS)) - e).square().flatten(1).mean(1)

    none = (eps_of(model, x, t) - e).square().flatten(1).mean(1)
    assert (loss(adapters) < none).all()


def eps_of(model, x, t):
    with torch.inference_mode():
        return model.attend(x, t, model.embed(PROMPTS))


def test_left_or_at_scale_0_the_network_is_what_it_was(model, latents):
    before = eps(model, latents)
    adapters = fitted(model, latents)
    assert torch.equal(eps(model, latents), before)
    with model.adapted(adapters, always(1.0)):
        assert not torch.equal(eps(model, latents), before)
    with model.adapted(adapters, always(0.0)):
        torch.testing.assert_close(eps(model, latents), before, rtol=0, atol=1e-12)
    assert torch.equal(eps(model, latents), before)


def test_a_compiled_network_is_fitted_and_adapted_alike(tiny_model, model, latents, graphs):
    compiled = LoadedStableDiffusion(tiny_model, 64, torch.device("cpu"), torch.float64, True)
    ours, theirs = fitted(model, latents), fitted(compiled, latents)
    assert graphs.frame_count == 0  # gradients are computed by the network's own layers
    assert ours[0].keys() == theirs[0].keys()
    for name, weight in ours[0].items():
        assert torch.equal(theirs[0][name], weight)
    with model.adapted(ours, always(1.0)), compiled.adapted(ours, always(1.0)):
        assert torch.equal(eps(model, latents), eps(compiled, latents))
    assert graphs.frame_count == 1


def test_a_fit_leaves_the_global_generator_alone_and_counts_its_evaluations(model, latents):
    state = torch.get_rng_state()
    fitted(model, latents)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.evaluations == 2 * 2 * SETTINGS.steps


def test_an_image_has_its_lora_in_any_batch(model, latents):
    together = fitted(model, latents)
    for row in (0, 1):
        alone = fitted(model, latents, rows=[row])[0]
        for name, weight in alone.items():
            torch.testing.assert_close(together[row][name], weight, rtol=0, atol=1e-12)
