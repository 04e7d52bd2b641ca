"""CLIP, against open_clip."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from sde_edit.errors import UserError
from sde_edit.registry import build
from tests.unit.metrics.inputs import assert_batches_agree, loaded

TINY_CLIP = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    },
    "preprocess_cfg": {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2]},
}


def test_clip_is_open_clip(tmp_path, images, examples):
    import open_clip
    from safetensors.torch import save_file

    (tmp_path / "open_clip_config.json").write_text(json.dumps(TINY_CLIP))
    model = f"local-dir:{tmp_path}"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = open_clip.create_model(model, load_weights=False)
    save_file(network.state_dict(), tmp_path / "open_clip_model.safetensors")

    metric = loaded("clip", model=model, pretrained="")
    network, preprocess = open_clip.create_model_from_pretrained(model)
    x = torch.stack([preprocess(Image.fromarray(image)) for image in images.numpy()])
    tokens = open_clip.get_tokenizer(model)([example.caption for example in examples])
    with torch.no_grad():
        image, text = network.encode_image(x), network.encode_text(tokens)
    expected = F.cosine_similarity(image, text)
    rows = metric.measure(images, examples)
    torch.testing.assert_close(rows[:, 0].float(), expected, rtol=1e-4, atol=1e-6)
    assert rows.std() > 1e-4
    assert_batches_agree(metric, images, examples)

    beside = loaded("clip", model=model, pretrained="", against="source")
    sources = torch.stack([preprocess(Image.fromarray(example.image)) for example in examples])
    with torch.no_grad():
        expected = F.cosine_similarity(image, network.encode_image(sources))
    own = beside.measure(images, examples)
    torch.testing.assert_close(own[:, 0].float(), expected, rtol=1e-4, atol=1e-6)
    same = beside.measure(torch.from_numpy(np.stack([e.image for e in examples])), examples)
    torch.testing.assert_close(same, torch.ones_like(same), rtol=0, atol=1e-6)


def test_clip_offline_says_what_to_fetch(monkeypatch):
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise FileNotFoundError("Failed to download file")

    monkeypatch.setattr("open_clip.download_pretrained", refuse)
    with pytest.raises(UserError, match=r"ViT-L-14.*timm/vit_large.*openai.*pretrained: FILE"):
        loaded("clip")
    with pytest.raises(UserError, match=r"pretrained='opanai' is no tag of it and no file"):
        build("metrics", "clip", {"pretrained": "opanai"}).fetch()
