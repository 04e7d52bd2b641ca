"""Loads guided-diffusion's checkpoints (Dhariwal and Nichol 2021) into diffusers' blocks: the UNet,
and the classifier of noisy images, which is the encoder half of such a UNet with a head.

The official files are read and their keys renamed; the shapes of tensors give the architecture.
Networks must have scale-shift norms and residual blocks that resample (`resblock_updown`), as the
ImageNet models do; for other networks the tensors do not fit, and loading raises an error.

Letters in tensor names: as in sde_edit/api; K classes, D channels, L tokens (pixels and mean).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from itertools import compress, count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sde_edit.errors import UserError
from sde_edit.networks.weight_files import check_tensors, reason_of

Weights = Mapping[str, Tensor]
# Modules of guided-diffusion -> modules of diffusers.
_ENDS = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
}

_UNET = _ENDS | {"label_emb": "class_embedding", "out.0": "conv_norm_out", "out.2": "conv_out"}
_CLASSIFIER = _ENDS | {
    "out.0": "norm_out",
    "out.2": "pool",
    "out.2.qkv_proj": "pool.qkv_proj",
    "out.2.c_proj": "pool.c_proj",
}

_BLOCK = re.compile(r"(input_blocks\.\d+\.\d|middle_block\.\d|output_blocks\.\d+\.\d)\.(.+)")
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}

_ATTENTION = {"norm": "group_norm", "proj_out": "to_out.0"}
_DOWN = {
    True: "AttnDownBlock2D",
    False: "ResnetDownsampleBlock2D",
}  # has attention?

_UP = {True: "AttnUpBlock2D", False: "ResnetUpsampleBlock2D"}
_GROUPS = 32  # of every group norm


def load_unet(file: Path, dtype: torch.dtype, *, head_channels: int) -> Any:
    """A UNet2DModel that maps (x_BCHW, t_B, label_B) to eps; on the CPU, for inference.

    The learned variance, the last three of the six output channels, is dropped. Raises UserError if
    the file is not a class-conditional UNet of guided-diffusion.
    """
    weights = _read(file, "label_emb.weight")
    weights |= {key: weights[key][:3] for key in ("out.2.weight", "out.2.bias")}
    unet, config = _blank_unet(weights, head_channels, file)
    return _filled(unet, _renamed(weights, _UNET, config), dtype, file)


def blank_unet(file: Path, *, head_channels: int) -> Any:
    """The UNet of `load_unet` on torch's meta device: its layers and shapes alone.

    Raises UserError as `load_unet` does.
    """
    return _blank_unet(_read(file, "label_emb.weight", device="meta"), head_channels, file)[0]


def _blank_unet(weights: Weights, head_channels: int, file: Path) -> tuple[Any, dict[str, Any]]:
    """The UNet for these weights on torch's meta device, and its settings."""
    from diffusers import UNet2DModel

    up = re.compile(r"output_blocks\.\d+\.[12]\.in_layers\.0\.bias")
    levels = 1 + sum(bool(up.fullmatch(key)) for key in weights)
    config = _config(weights, levels, head_channels, file)
    with torch.device("meta"):
        return UNet2DModel(**config, num_class_embeds=len(weights["label_emb.weight"])), config


def load_classifier(
    file: Path, dtype: torch.dtype, *, resolution: int, head_channels: int
) -> Classifier:
    """The classifier of noisy images, on the CPU, for inference.

    Raises UserError if the file is not a classifier of guided-diffusion with attention pooling, or
    not one for that resolution.
    """
    weights = _read(file, "out.2.positional_embedding")
    side = round((weights["out.2.positional_embedding"].shape[1] - 1) ** 0.5)
    levels = (resolution // side).bit_length()
    if side * 2 ** (levels - 1) != resolution:
        raise UserError(
            f"{file} ends in {side}x{side} cells, and model.resolution={resolution} does not"
        )
    config = _config(weights, levels, head_channels, file)
    with torch.device("meta"):
        classifier = Classifier(config, side=side, classes=len(weights["out.2.c_proj.bias"]))
    filled: Classifier = _filled(classifier, _renamed(weights, _CLASSIFIER, config), dtype, file)
    return filled


class Classifier(nn.Module):
    """Logits of p(y | x_t, t): the encoder half of a UNet2DModel, then attention pooling."""

    def __init__(self, config: Mapping[str, Any], *, side: int, classes: int) -> None:
        from diffusers import UNet2DModel

        super().__init__()
        unet = UNet2DModel(**config)
        self.time_proj, self.time_embedding = unet.time_proj, unet.time_embedding
        self.conv_in, self.down_blocks = unet.conv_in, unet.down_blocks
        self.mid_block = unet.mid_block
        channels = config["block_out_channels"][-1]
        self.norm_out = nn.GroupNorm(_GROUPS, channels)
        self.classes = classes
        self.pool = _AttentionPool(channels, side, config["attention_head_dim"], classes)

    def forward(self, x_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """Logits [B, K]; x must have the dtype of the weights."""
        logits: Tensor = self.pool(self.features(x_BCHW, t_B))
        return logits

    def features(self, x_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """What is pooled: [B, D, side, side]; x must have the dtype of the weights."""
        emb = self.time_embedding(self.time_proj(t_B).to(x_BCHW.dtype))
        h = self.conv_in(x_BCHW)
        for block in self.down_blocks:
            h, _ = block(h, emb)
        return F.silu(self.norm_out(self.mid_block(h, emb)))


class _AttentionPool(nn.Module):
    """Attention pooling as in CLIP: the mean of the pixels attends to them and to itself."""

    def __init__(self, channels: int, side: int, head_channels: int, classes: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.positional_embedding = nn.Parameter(torch.empty(channels, side**2 + 1))
        self.qkv_proj = nn.Linear(channels, 3 * channels)
        self.c_proj = nn.Linear(channels, classes)

    def forward(self, x_BDHW: Tensor) -> Tensor:
        x_BDL = x_BDHW.flatten(2)
        x_BDL = torch.cat([x_BDL.mean(2, keepdim=True), x_BDL], 2) + self.positional_embedding
        qkv = self.qkv_proj(x_BDL.mT).chunk(3, dim=2)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in qkv)
        mean_B1D = F.scaled_dot_product_attention(q[:, :, :1], k, v).transpose(1, 2).flatten(2)
        logits: Tensor = self.c_proj(mean_B1D.squeeze(1))
        return logits


# ------------------------------------------------------------------ from files to networks
def _read(file: Path, required: str, device: str = "cpu") -> dict[str, Tensor]:
    """The tensors of a file, which must include `required`. Raises UserError otherwise."""
    try:
        weights = torch.load(file, map_location=device, weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise UserError(f"{file} cannot be read, fetch it again: {reason_of(error)}") from error
    if not isinstance(weights, dict) or required not in weights:
        raise UserError(f"{file} is no such checkpoint of guided-diffusion: no {required} in it")
    return weights


def _config(weights: Weights, levels: int, head_channels: int, file: Path) -> dict[str, Any]:
    """The settings of the UNet2DModel for these weights. Raises UserError if there is none."""
    depth, channels, attends = _levels(weights, levels, file)
    if odd := [c for c in (*compress(channels, attends), channels[-1]) if c % head_channels]:
        raise UserError(f"model.head_channels={head_channels} does not divide {odd[0]} ({file})")
    return {
        "layers_per_block": depth,
        "block_out_channels": channels,
        "down_block_types": [_DOWN[attention] for attention in attends],
        "up_block_types": [_UP[attention] for attention in reversed(attends)],
        "attention_head_dim": head_channels,
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "resnet_time_scale_shift": "scale_shift",
        "norm_num_groups": _GROUPS,
        "attn_norm_num_groups": _GROUPS,
    }


def _levels(weights: Weights, levels: int, file: Path) -> tuple[int, list[int], list[bool]]:
    """Residual blocks per level, and for each level its channels and whether it has attention.

    Every level but the last has one more block, which resamples, and the input convolution comes
    before the first level. Raises UserError if the blocks do not fit the levels.
    """
    conv = "input_blocks.{}.0.out_layers.3.weight"
    blocks = next(i for i in count(1) if conv.format(i) not in weights)
    depth = blocks // levels - 1
    if depth < 1:
        raise UserError(
            f"{file}: {blocks} blocks make no {levels} levels; is it of resblock_updown, and for "
            "model.resolution?"
        )
    first = [1 + level * (depth + 1) for level in range(levels)]
    channels = [len(weights[conv.format(i)]) for i in first]
    return depth, channels, [f"input_blocks.{i}.1.qkv.weight" in weights for i in first]


def _renamed(
    weights: Weights, ends: Mapping[str, str], config: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The weights under diffusers' names. Keys without such a name stay as they are."""
    depth, heads_of = config["layers_per_block"], config["attention_head_dim"]
    renamed = {}
    for key, theirs in weights.items():
        module, _, parameter = key.rpartition(".")
        name = ends.get(module) or _in_block(module, depth)
        tensor = theirs.squeeze(2) if theirs.ndim == 3 else theirs  # a 1x1 Conv1d is a Linear
        if name.endswith(".qkv"):
            split = tensor.reshape(-1, 3, heads_of, *tensor.shape[1:]).unbind(1)  # head by head
            for letter, part in zip("qkv", split, strict=True):
                renamed[f"{name[:-3]}to_{letter}.{parameter}"] = part.flatten(0, 1)
        else:
            renamed[f"{name}.{parameter}"] = tensor
    return renamed


def _in_block(module: str, depth: int) -> str:
    """diffusers' name of a module such as `output_blocks.3.1.in_layers.0`."""
    if not (found := _BLOCK.fullmatch(module)):
        return module
    block, part = found.groups()
    if part in _RESNET:
        return f"{_place(block, depth, attention=False)}.{_RESNET[part]}"
    return f"{_place(block, depth, attention=True)}.{_ATTENTION.get(part, part)}"


def _place(block: str, depth: int, *, attention: bool) -> str:
    """diffusers' name of a residual or attention block such as `output_blocks.3.1`."""
    stage, *numbers = block.split(".")
    kind, (*index, layer) = "attentions" if attention else "resnets", map(int, numbers)
    if stage == "middle_block":
        return f"mid_block.{kind}.{layer // 2}"
    if stage == "input_blocks":
        level, i = divmod(index[0] - 1, depth + 1)
        return f"down_blocks.{level}." + ("downsamplers.0" if i == depth else f"{kind}.{i}")
    level, i = divmod(index[0], depth + 1)
    resamples = layer > 0 and not attention
    return f"up_blocks.{level}." + ("upsamplers.0" if resamples else f"{kind}.{i}")


def _filled(network: Any, weights: Weights, dtype: torch.dtype, file: Path) -> Any:
    """The network with these weights in that dtype. Raises UserError if they do not fit."""
    remedy = "Names are diffusers'. Are model.resolution and model.head_channels its own?"
    check_tensors(network.state_dict(), weights, file, remedy)
    cast = {key: tensor.to(dtype) for key, tensor in weights.items()}
    network.load_state_dict(cast, assign=True)
    return network.eval().requires_grad_(False)
