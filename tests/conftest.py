"""How the tests run, and networks of random weights in the official layouts, small enough for a
laptop."""

import json
import os
import runpy
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest
import torch

from tests.builders import ROOT, without_workers
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


def _tokenizer(folder, **special):
    """A tokenizer that knows letters only."""
    from transformers import CLIPTokenizer

    letters = [chr(c) for c in range(33, 127)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = (str(folder / "vocab.json"), str(folder / "merges.txt"))
    return CLIPTokenizer(*files, model_max_length=16, **special)


def _text_config(tokenizer, **sizes):
    from transformers import CLIPTextConfig

    tokens = len(tokenizer)
    return CLIPTextConfig(
        vocab_size=tokens,
        hidden_size=32,
        intermediate_size=32,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=tokens - 2,
        eos_token_id=tokens - 1,
        pad_token_id=tokens - 1,
        **sizes,
    )


def _unet(**conditions):
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,  # one channel to a group would take out what t adds
        attention_head_dim=2,
        **conditions,
    )


def _vae(**scale):
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
        sample_size=64,
        **scale,
    )


BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Folder of a 64x64 pipeline: f = 8 as in SD 1.5, so latents are 8x8."""
    from diffusers import PNDMScheduler, StableDiffusionPipeline
    from transformers import CLIPTextModel

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = _tokenizer(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text = CLIPTextModel(_text_config(tokenizer, num_hidden_layers=1))
        unet = _unet(cross_attention_dim=32)
        vae = _vae()
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder / "pipeline")
    return folder / "pipeline"


@pytest.fixture(scope="session")
def tiny_xl(tmp_path_factory):
    """Folder of a 64x64 pipeline as SDXL has it. The encoders have layers after the one that is
    read, and the pooled embedding is narrower than the text."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    folder = tmp_path_factory.mktemp("tiny-xl")
    first, second = _tokenizer(folder), _tokenizer(folder, pad_token="!")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        text = CLIPTextModel(_text_config(first, num_hidden_layers=2))
        text_2 = CLIPTextModelWithProjection(
            _text_config(second, num_hidden_layers=3, hidden_act="gelu", projection_dim=48)
        )
        unet = _unet(
            cross_attention_dim=64,
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=48 + 6 * 8,
        )
        vae = _vae(scaling_factor=0.13025, force_upcast=True)
    StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=text,
        text_encoder_2=text_2,
        tokenizer=first,
        tokenizer_2=second,
        unet=unet,
        scheduler=EulerDiscreteScheduler(**BETAS, timestep_spacing="leading", steps_offset=1),
        add_watermarker=False,
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
def tiny_classifier(tmp_path_factory):
    """Folder of a classifier of the noisy latents of the tiny pipeline."""
    from sde_edit.networks.noisy_classifier import NoisyClassifierConfig, save_noisy_classifier

    config = NoisyClassifierConfig(
        in_channels=4,
        side=4,
        classes=3,
        unet={
            "layers_per_block": 1,
            "block_out_channels": [32, 32],
            "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
            "attention_head_dim": 32,
            "downsample_type": "resnet",
            "upsample_type": "resnet",
        },
    )
    folder = tmp_path_factory.mktemp("classifier")
    with torch.random.fork_rng():
        torch.manual_seed(2)
        classifier = config.build()
        torch.nn.init.normal_(classifier.pool.positional_embedding)
    save_noisy_classifier(folder, config, classifier)
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
    script = runpy.run_path(str(ROOT / "scripts" / "random_adm.py"))
    unet = script["unet"](32, (1, 4, 2), depth=2, attention={1})
    classifier = script["classifier"](32, (1, 4), depth=1, attention={1}, side=8)
    torch.save(script["drawn"](unet, seed=3), folder / "256x256_diffusion.pt")
    torch.save(script["drawn"](classifier, seed=4), folder / "256x256_classifier.pt")
    return folder


@pytest.fixture
def graphs(monkeypatch):
    """Has torch.compile trace networks whole and run the operations of their graphs as they are,
    which takes no compiler. `graphs.frame_count` is the number of graphs so far."""
    from torch._dynamo.testing import CompileCounter

    counter, compile_ = CompileCounter(), torch.compile

    def traced(network, *, dynamic, options):
        return compile_(network, dynamic=dynamic, backend=counter, fullgraph=True)

    monkeypatch.setattr(torch, "compile", traced)
    yield counter
    torch.compiler.reset()
