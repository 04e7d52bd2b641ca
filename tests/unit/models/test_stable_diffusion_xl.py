"""What SDXL is told of sizes, which tokenizers it takes, and its real architecture."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from sde_edit.config import experiment
from sde_edit.errors import UserError
from sde_edit.imaging.fit import extended
from sde_edit.models.stable_diffusion_xl import StableDiffusionXL
from sde_edit.networks.lora_layers import LoraUNet

REAL_UNET = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
REAL_TEXT_2 = {
    "vocab_size": 49408,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}


@pytest.fixture
def folder(tiny_xl, tmp_path):
    shutil.copytree(tiny_xl, tmp_path / "xl")
    return tmp_path / "xl"


@pytest.fixture
def model(tiny_xl):
    return StableDiffusionXL(str(tiny_xl), 64).load("cpu", "float32")


@pytest.mark.parametrize(("settings", "size"), [
    (["data.fit=crop"], (64, 64)),
    (["data.fit=pad"], (64, 64)),
    (["data.fit=keep"], (64, 96)),  # 64x96: the short side is the model's
    (["data.fit=keep", "data.side=long"], (48, 64)),  # 43x64, extended to whole latents
    (["data.fit=keep", "data.resolution=null"], (104, 152)),  # 100x150
])  # fmt: skip
def test_the_network_is_told_the_size_at_which_a_photo_is_edited(
    settings, size, tiny_xl, model, tmp_path
):
    """A photo of 150 x 100 pixels: (height, width) of the original, no crop, and the target."""
    Image.fromarray(np.zeros((100, 150, 3), np.uint8)).save(tmp_path / "photo.png")
    given = ["model=sdxl", f"model.path={tiny_xl}", "model.resolution=64", "task=reconstruct"]
    data = ["data=folder", f"data.images={tmp_path}", "data.resolution=64", *settings]
    dataset = experiment([*given, *data, "metrics=[]"]).dataset
    photo = extended(dataset.load("photo"), model.factor)
    sizes = []
    model.unet.add_time_proj.register_forward_pre_hook(lambda _module, given: sizes.append(given))
    with torch.inference_mode():
        x = model.encode(torch.from_numpy(photo.image)[None])
        model.denoiser(["a"], 3.0)(x, torch.tensor([500.0]))
    ((numbers,),) = sizes
    assert numbers.view(2, 6).tolist() == [[*size, 0, 0, *size]] * 2  # both halves of guidance


def test_tokenizers_that_differ_are_refused_before_the_network(folder):
    file = folder / "tokenizer_2/tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": 12}))
    source = StableDiffusionXL(str(folder), 64)
    for ask in (lambda: source.read_prompts(["a"]), lambda: source.load("cpu", "float32")):
        with pytest.raises(UserError, match="tokenizer_2: its vocabulary or model_max_length"):
            ask()


def test_a_prompt_that_is_cut_is_told(tiny_xl):
    whole, cut = StableDiffusionXL(str(tiny_xl), 64).read_prompts(["a b", "c " * 20])
    assert (whole.cut, whole.unknown) == ("", "")
    assert cut.cut.split() == ["c"] * 6


def test_the_real_architecture_has_its_published_size():
    """On the meta device, which holds no weights: parameters, the maps that tasks ask for, and what
    a LoRA is fitted to."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**REAL_UNET)
        text_2 = CLIPTextModelWithProjection(CLIPTextConfig(**REAL_TEXT_2))
    assert sum(p.numel() for p in unet.parameters()) == 2_567_463_684
    assert sum(p.numel() for p in text_2.parameters()) == 694_659_840
    sizes = LoraUNet(unet).sizes(rank=4)
    assert len(sizes) == 2 * 560
    assert sum(out * inner for out, inner in sizes.values()) == 5_806_080
