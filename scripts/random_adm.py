"""ADM on ImageNet 256x256 with random weights, for timing: the real architecture, no download.

    python scripts/random_adm.py OUT [--seed 0]
    sde-edit bench task=ddib model=adm model.path=OUT dtype=bfloat16

Its pictures are noise. The folder has guided-diffusion's two files: the class-conditional UNet
(554 M parameters) and the classifier of noisy images (54 M), as shapes of tensors by their keys;
2.4 GB in float32.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

MULTIPLES = (1, 1, 2, 2, 4, 4)  # channels of the levels, from 256x256 to 8x8, in widths
ATTENTION = {3, 4, 5}  # levels with attention: 32x32, 16x16, 8x8
CLASSES = 1000


def unet(width: int, multiples: Sequence[int], *, depth: int, attention: Collection[int]) -> Shapes:
    """The UNet: `depth` residual blocks at each level."""
    return {
        **_down(width, multiples, depth, attention),
        **_up(width, multiples, depth, attention),
        "label_emb.weight": (CLASSES, 4 * width),
        **_layer("out.0", multiples[0] * width),
        **_layer("out.2", 6, multiples[0] * width, 3, 3),
    }


def classifier(
    width: int, multiples: Sequence[int], *, depth: int, attention: Collection[int], side: int
) -> Shapes:
    """The encoder half, and attention pooling over its last map of side x side cells."""
    channels = multiples[-1] * width
    return {
        **_down(width, multiples, depth, attention),
        "out.2.positional_embedding": (channels, side**2 + 1),
        **_layer("out.0", channels),
        **_layer("out.2.qkv_proj", 3 * channels, channels, 1),
        **_layer("out.2.c_proj", CLASSES, channels, 1),
    }


def _layer(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _residual(name: str, given: int, made: int, width: int) -> Shapes:
    skip = _layer(f"{name}.skip_connection", made, given, 1, 1) if given != made else {}
    return {
        **_layer(f"{name}.in_layers.0", given),
        **_layer(f"{name}.in_layers.2", made, given, 3, 3),
        **_layer(f"{name}.emb_layers.1", 2 * made, 4 * width),
        **_layer(f"{name}.out_layers.0", made),
        **_layer(f"{name}.out_layers.3", made, made, 3, 3),
        **skip,
    }


def _attention(name: str, channels: int) -> Shapes:
    return {
        **_layer(f"{name}.norm", channels),
        **_layer(f"{name}.qkv", 3 * channels, channels, 1),
        **_layer(f"{name}.proj_out", channels, channels, 1),
    }


def _down(width: int, multiples: Sequence[int], depth: int, attention: Collection[int]) -> Shapes:
    """From the time to the middle."""
    shapes = _layer("time_embed.0", 4 * width, width) | _layer("time_embed.2", 4 * width, 4 * width)
    shapes |= _layer("input_blocks.0.0", width, 3, 3, 3)
    channels, block = width, 1
    for level, multiple in enumerate(multiples):
        for _ in range(depth):
            shapes |= _residual(f"input_blocks.{block}.0", channels, multiple * width, width)
            channels = multiple * width
            if level in attention:
                shapes |= _attention(f"input_blocks.{block}.1", channels)
            block += 1
        if level < len(multiples) - 1:
            shapes |= _residual(f"input_blocks.{block}.0", channels, channels, width)
            block += 1
    for layer in (0, 2):
        shapes |= _residual(f"middle_block.{layer}", channels, channels, width)
    return shapes | _attention("middle_block.1", channels)


def _up(width: int, multiples: Sequence[int], depth: int, attention: Collection[int]) -> Shapes:
    """After the middle."""
    skips = [width]
    for level, multiple in enumerate(multiples):
        skips += [multiple * width] * (depth + (level < len(multiples) - 1))
    shapes: Shapes = {}
    channels, block = multiples[-1] * width, 0
    for level, multiple in reversed(list(enumerate(multiples))):
        for i in range(depth + 1):
            name, layer = f"output_blocks.{block}", 1
            shapes |= _residual(f"{name}.0", channels + skips.pop(), multiple * width, width)
            channels = multiple * width
            if level in attention:
                shapes |= _attention(f"{name}.1", channels)
                layer = 2
            if level and i == depth:
                shapes |= _residual(f"{name}.{layer}", channels, channels, width)
            block += 1
    return shapes


def drawn(shapes: Mapping[str, Sequence[int]], seed: int) -> dict[str, Tensor]:
    """Weights that keep the size of what they are given; scales of norms are about 1."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for key, shape in shapes.items():
        draw = torch.randn(tuple(shape), generator=generator)
        norm = len(shape) == 1 and key.endswith("weight")
        weights[key] = 1 + 0.3 * draw if norm else draw / max(1, math.prod(shape[1:])) ** 0.5
    return weights


def official() -> dict[str, Shapes]:
    """The shapes in the two official files."""
    return {
        "256x256_diffusion.pt": unet(256, MULTIPLES, depth=2, attention=ATTENTION),
        "256x256_classifier.pt": classifier(128, MULTIPLES, depth=2, attention=ATTENTION, side=8),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for k, (name, shapes) in enumerate(official().items()):
        torch.save(drawn(shapes, given.seed + k), given.out / name)
    print(given.out)


if __name__ == "__main__":
    main()
