"""How the tests run, and networks of random weights in the official layouts, small enough for a
laptop."""

import json
import math
import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest
import torch

from tests.builders import without_workers
from tests.shapes import shapes_checked

# The same examples in every session; --hypothesis-profile=default draws others.
hypothesis.settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, max_examples=100
)
hypothesis.settings.load_profile("repeatable")

MEMORY = Path("/dev/shm")  # a file system in memory, on Linux
MEMORY_BYTES = 2**31  # free space that the temporary files of a test session fit into


def pytest_addoption(parser):
    parser.addoption("--fuzz-seed", type=int, default=0, help="Of the tests marked exhaustive.")


def pytest_configure(config):
    """Give each process one thread, so that two workers do not fight for the cores, and put
    temporary files into memory where possible, as every stored file is synced to disk.

    Both are passed on to workers and to processes that tests start. OMP_NUM_THREADS and TMPDIR
    take precedence if they are set.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if "TMPDIR" not in os.environ and _has_memory():
        folder = tempfile.mkdtemp(prefix="sde-edit-tests-", dir=MEMORY)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        os.environ["TMPDIR"] = tempfile.tempdir = folder


def _has_memory():
    writable = MEMORY.is_dir() and os.access(MEMORY, os.W_OK)
    return writable and shutil.disk_usage(MEMORY).free > MEMORY_BYTES


@pytest.fixture(scope="session", autouse=True)
def _shapes():
    with shapes_checked():
        yield


@pytest.fixture(autouse=True)
def _denormals():
    """Runs flush denormal numbers for the rest of their process; other tests need them."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """Digests of files are remembered in the folder of the test, not in the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def no_workers():
    """Sweeps do their jobs in the process of the test."""
    with without_workers():
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Folder of a 64x64 pipeline: f = 8 as in SD 1.5, so latents are 8x8."""
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline
    from diffusers import UNet2DConditionModel as UNet
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("tiny")
    letters = [chr(c) for c in range(33, 127)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokens),
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=16,
                bos_token_id=len(tokens) - 2,
                eos_token_id=len(tokens) - 1,
                pad_token_id=len(tokens) - 1,
            )
        )
        unet = UNet(
            sample_size=8,
            block_out_channels=(32, 32),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            norm_num_groups=8,  # one channel to a group would take out what t adds
            cross_attention_dim=32,
            attention_head_dim=2,
        )
        vae = AutoencoderKL(
            block_out_channels=(16, 16, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            norm_num_groups=8,
            latent_channels=4,
            sample_size=64,
        )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=PNDMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            skip_prk_steps=True,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder / "pipeline")
    return folder / "pipeline"


@pytest.fixture(scope="session")
def tiny_control(tiny_model, tmp_path_factory):
    """Folder of a control net for the tiny pipeline. Its zero convolutions are not left at zero,
    for then it would say nothing."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    folder = tmp_path_factory.mktemp("control")
    unet = UNet2DConditionModel.from_pretrained(tiny_model / "unet")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        control = ControlNetModel.from_unet(unet)
        for parameter in control.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    control.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_ddpm(tmp_path_factory):
    """Folder of a 16x16 DDPM pipeline, that is with unet/ and scheduler/."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    folder = tmp_path_factory.mktemp("ddpm")
    with torch.random.fork_rng():
        torch.manual_seed(2)
        unet = UNet2DModel(
            sample_size=16,
            block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            norm_num_groups=8,
        )
    DDPMPipeline(unet=unet, scheduler=DDPMScheduler(clip_sample=False)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_adm(tmp_path_factory):
    """Folder of a 16x16 ADM in guided-diffusion's files: a UNet of three levels, the second with
    attention, and a classifier of two. Heads have 64 channels, as in the official ones."""
    folder = tmp_path_factory.mktemp("adm")
    unet = _adm_down(32, (1, 4, 2), depth=2, attention={1})
    unet |= _adm_up(32, (1, 4, 2), depth=2, attention={1})
    unet |= {"label_emb.weight": (1000, 128), **_layer("out.0", 32), **_layer("out.2", 6, 32, 3, 3)}
    classifier = _adm_down(32, (1, 4), depth=1, attention={1})
    classifier |= {"out.2.positional_embedding": (128, 8 * 8 + 1), **_layer("out.0", 128)}
    classifier |= _layer("out.2.qkv_proj", 384, 128, 1) | _layer("out.2.c_proj", 1000, 128, 1)
    torch.save(_random(unet, seed=3), folder / "256x256_diffusion.pt")
    torch.save(_random(classifier, seed=4), folder / "256x256_classifier.pt")
    return folder


def _layer(name, *shape):
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _residual(name, given, made, width):
    skip = _layer(f"{name}.skip_connection", made, given, 1, 1) if given != made else {}
    return {
        **_layer(f"{name}.in_layers.0", given),
        **_layer(f"{name}.in_layers.2", made, given, 3, 3),
        **_layer(f"{name}.emb_layers.1", 2 * made, 4 * width),
        **_layer(f"{name}.out_layers.0", made),
        **_layer(f"{name}.out_layers.3", made, made, 3, 3),
        **skip,
    }


def _attention(name, channels):
    return {
        **_layer(f"{name}.norm", channels),
        **_layer(f"{name}.qkv", 3 * channels, channels, 1),
        **_layer(f"{name}.proj_out", channels, channels, 1),
    }


def _adm_down(width, multiples, depth, attention):
    """Shapes by guided-diffusion's keys, from the time to the middle."""
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


def _adm_up(width, multiples, depth, attention):
    """Shapes by guided-diffusion's keys, after the middle."""
    skips = [width]
    for level, multiple in enumerate(multiples):
        skips += [multiple * width] * (depth + (level < len(multiples) - 1))
    shapes, channels, block = {}, multiples[-1] * width, 0
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


def _random(shapes, seed):
    """Weights that keep the size of what they are given; scales of norms are about 1."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for key, shape in shapes.items():
        draw = torch.randn(shape, generator=generator)
        norm = len(shape) == 1 and key.endswith("weight")
        weights[key] = 1 + 0.3 * draw if norm else draw / max(1, math.prod(shape[1:])) ** 0.5
    return weights
