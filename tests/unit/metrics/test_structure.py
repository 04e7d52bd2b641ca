"""Structure distance, against a plain transcription of DINO's ViT and of the published code."""

import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from sde_edit.errors import UserError
from sde_edit.registry import build
from tests.unit.metrics.inputs import assert_batches_agree, loaded, pair

LAYERS, CHANNELS, PATCH, HEADS = 2, 128, 56, 2


@pytest.fixture(scope="module")
def tensors():
    """Random weights under the names of the official file."""
    draw = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=draw) / 16

    def linear(name, out, into):
        return {f"{name}.weight": random(out, into), f"{name}.bias": random(out)}

    def norm(name):
        return {f"{name}.weight": 1 + random(CHANNELS), f"{name}.bias": random(CHANNELS)}

    found = {
        "cls_token": random(1, 1, CHANNELS),
        "pos_embed": random(1, 1 + (224 // PATCH) ** 2, CHANNELS),
        "patch_embed.proj.weight": random(CHANNELS, 3, PATCH, PATCH),
        "patch_embed.proj.bias": random(CHANNELS),
        **norm("norm"),
    }
    for layer in (f"blocks.{i}" for i in range(LAYERS)):
        found |= norm(f"{layer}.norm1") | norm(f"{layer}.norm2")
        found |= linear(f"{layer}.attn.qkv", 3 * CHANNELS, CHANNELS)
        found |= linear(f"{layer}.attn.proj", CHANNELS, CHANNELS)
        found |= linear(f"{layer}.mlp.fc1", 4 * CHANNELS, CHANNELS)
        found |= linear(f"{layer}.mlp.fc2", CHANNELS, 4 * CHANNELS)
    return found


@pytest.fixture
def folder(tensors, tmp_path):
    save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path


def keys_of(image_HWC, w):
    """The keys of the last layer [T, C] for one image."""

    def norm(x, name):
        return F.layer_norm(x, (CHANNELS,), w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-6)

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = image_HWC.permute(2, 0, 1).double()[None]  # not divided by 255: so is the published code
    x = F.interpolate(x, size=(224, 224), mode="bilinear", align_corners=False)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    patches = F.conv2d(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=PATCH)
    x = torch.cat([w["cls_token"][0], patches[0].flatten(1).T]) + w["pos_embed"][0]
    for i in range(LAYERS):
        qkv = linear(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv")
        q, k, v = qkv.reshape(len(x), 3, HEADS, CHANNELS // HEADS).permute(1, 2, 0, 3)
        if i == LAYERS - 1:
            return k.transpose(0, 1).reshape(len(x), CHANNELS)
        weights = (q @ k.mT / math.sqrt(CHANNELS // HEADS)).softmax(-1)
        x = x + linear((weights @ v).transpose(0, 1).reshape(len(x), CHANNELS),
                       f"blocks.{i}.attn.proj")  # fmt: skip
        hidden = F.gelu(linear(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1"))
        x = x + linear(hidden, f"blocks.{i}.mlp.fc2")
    raise AssertionError


def similarity(keys_TC):
    norms = keys_TC.norm(dim=1, keepdim=True)
    return keys_TC @ keys_TC.T / (norms @ norms.T).clamp(min=1e-8)


def test_structure_is_the_published_one(folder, tensors):
    wide = {name: tensor.double() for name, tensor in tensors.items()}
    outputs, examples = pair(2, n=3, size=32)
    metric = loaded("structure", path=str(folder))
    expected = [
        F.mse_loss(
            similarity(keys_of(output, wide)),
            similarity(keys_of(torch.from_numpy(example.image), wide)),
        )
        for output, example in zip(outputs, examples, strict=True)
    ]
    rows = metric.measure(outputs, examples)
    torch.testing.assert_close(rows[:, 0], torch.stack(expected), rtol=1e-3, atol=1e-7)
    assert rows.min() > 1e-4
    assert_batches_agree(metric, outputs, examples)
    sources = torch.stack([torch.from_numpy(example.image) for example in examples])
    assert metric.measure(sources, examples).abs().max() < metric.tolerance
    assert "weights sha256 " in metric.convention()


def test_weights_that_are_not_there_are_named(tmp_path):
    metric = build("metrics", "structure", {"path": str(tmp_path)})
    assert "not fetched" in metric.convention()
    with pytest.raises(UserError, match=r"path=.*lacks .*model\.safetensors"):
        metric.load("cpu")
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(UserError, match="git-lfs pointer"):
        metric.fetch()


@pytest.mark.parametrize(("change", "message"), [
    (lambda own: {k: v for k, v in own.items() if k != "norm.bias"}, "lack 1 .*norm.bias"),
    (lambda own: own | {"zzz": torch.zeros(1)}, "hold 1 .*zzz"),
    (lambda own: own | {"pos_embed": torch.zeros(1, 5, CHANNELS)}, "of another shape"),
    (lambda own: {"weight": torch.zeros(1)}, "lack .*cls_token"),
])  # fmt: skip
def test_tensors_of_another_network_are_refused(tensors, tmp_path, change, message):
    save_file(change(tensors), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=message):
        loaded("structure", path=str(tmp_path))
