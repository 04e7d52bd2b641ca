"""Latent diffusion networks."""

import pytest
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer


@pytest.fixture(scope="module")
def model(sharpened_model):
    return sharpened_model


def test_words_have_the_tokens_of_the_whole_prompt(tiny_model, model):
    prompt = "it's a  Red cat, no 12!"
    whole = CLIPTokenizer.from_pretrained(tiny_model / "tokenizer", model_max_length=77)(prompt)
    assert [i for word in model.word_tokens(prompt) for i in word] == whole.input_ids[1:-1]


@torch.inference_mode()
def test_a_latent_is_the_mean_of_the_posterior_and_no_draw(tiny_model, model):
    """SDE-Drag's published code draws from it."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2, 64, 64, 3), generator=generator, dtype=torch.uint8)
    vae = AutoencoderKL.from_pretrained(tiny_model / "vae").double()
    posterior = vae.encode(images.permute(0, 3, 1, 2).double() / 127.5 - 1).latent_dist
    mean, draw = (
        vae.config.scaling_factor * x for x in (posterior.mode(), posterior.sample(generator))
    )
    torch.testing.assert_close(model.encode(images), mean, rtol=1e-6, atol=1e-6)
    assert (draw - mean).abs().max() > 1e-3
