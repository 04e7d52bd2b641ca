"""Stable Diffusion 1.5 with random weights, for timing: the real architecture without a download.

    python scripts/random_sd15.py OUT [--dtype float16] [--seed 0]
    sde-edit bench model=sd15 model.path=OUT dtype=bfloat16

Its pictures are noise. The folder has the official layout: UNet (860 M parameters), VAE (84 M),
CLIP text encoder (123 M) and a tokenizer that knows letters only; 2.1 GB in float16.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

PARAMETERS = {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}


def unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=64,
        in_channels=4,
        out_channels=4,
        down_block_types=(*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        cross_attention_dim=768,
        attention_head_dim=8,
        norm_num_groups=32,
        act_fn="silu",
        center_input_sample=False,
        flip_sin_to_cos=True,
        freq_shift=0,
    )


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=32,
        sample_size=512,
        scaling_factor=0.18215,
    )


def text_encoder(tokens: int) -> CLIPTextModel:
    """OpenAI's ViT-L/14 at its full vocabulary, of which the tokenizer uses the first `tokens`."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
            projection_dim=768,
            bos_token_id=tokens - 2,
            eos_token_id=tokens - 1,
            pad_token_id=tokens - 1,
        )
    )


def tokenizer(folder: Path) -> CLIPTokenizer:
    letters = [chr(c) for c in range(33, 127)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = (str(folder / "vocab.json"), str(folder / "merges.txt"))
    return CLIPTokenizer(*files, model_max_length=77)


def scheduler() -> PNDMScheduler:
    return PNDMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        num_train_timesteps=1000,
        skip_prk_steps=True,
        steps_offset=1,
    )


def pipeline(seed: int, dtype: torch.dtype) -> StableDiffusionPipeline:
    """The pipeline, its sizes checked against the published ones."""
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        letters = tokenizer(Path(folder))
    networks = {"unet": unet(), "vae": vae(), "text_encoder": text_encoder(len(letters))}
    for name, network in networks.items():
        count = sum(p.numel() for p in network.parameters())
        if count != PARAMETERS[name]:
            raise SystemExit(f"{name}: {count} parameters instead of {PARAMETERS[name]}")
    return StableDiffusionPipeline(
        **{name: network.to(dtype).eval() for name, network in networks.items()},
        tokenizer=letters,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    choices = ["float16", "bfloat16", "float32"]
    parser.add_argument("--dtype", default="float16", choices=choices, help="of the stored weights")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    pipeline(given.seed, getattr(torch, given.dtype)).save_pretrained(given.out)
    print(given.out)


if __name__ == "__main__":
    main()
