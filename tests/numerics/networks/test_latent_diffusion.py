"""Latent diffusion networks."""

import pytest
from transformers import CLIPTokenizer


@pytest.fixture(scope="module")
def model(sharpened_model):
    return sharpened_model


def test_words_have_the_tokens_of_the_whole_prompt(tiny_model, model):
    prompt = "it's a  Red cat, no 12!"
    whole = CLIPTokenizer.from_pretrained(tiny_model / "tokenizer", model_max_length=77)(prompt)
    assert [i for word in model.word_tokens(prompt) for i in word] == whole.input_ids[1:-1]
