"""The embedded recogniser names what scenes show."""

import numpy as np
import pytest
import torch

from sde_edit.networks.recogniser import ShapesCLIP
from tests.e2e.embedded import FOLDER, names, renders, right, scenes


@pytest.fixture(scope="module")
def recogniser():
    return ShapesCLIP.from_pretrained(FOLDER / "recogniser")


def test_recogniser_names_real_scenes(recogniser):
    some = scenes(200)
    answers = names(recogniser, renders(some))
    assert np.mean([right(s, a) for s, a in zip(some, answers, strict=True)]) >= 0.95


def test_recogniser_matches_images_to_captions(recogniser):
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(FOLDER / "tokenizer")
    some = scenes(50)
    texts = [scene.caption() for scene in some]
    ids = tokenizer(texts, padding="max_length", return_tensors="pt").input_ids
    with torch.inference_mode():
        image = recogniser.embed_image(
            recogniser.image_features(renders(some).permute(0, 3, 1, 2).float() / 127.5 - 1)
        )
        text = recogniser.embed_text(ids)
    best = (image @ text.T).argmax(1)
    assert (best == torch.arange(50)).float().mean() >= 0.9
