"""Inputs and networks that tests of metrics and of evaluation share."""

import json
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sde_edit.api.example import Example
from sde_edit.imaging.shapes_world import scene_of
from sde_edit.networks.recogniser import ShapesCLIP, ShapesCLIPConfig

N = 4


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """PyTorch's hub in an empty folder, without a network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(url: str, *_args: object, **_kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="session")
def images() -> Tensor:
    return torch.from_numpy(np.stack([scene_of("test", i).render() for i in range(N)]))


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    scenes = [scene_of("test", i + N) for i in range(N)]
    return [Example(f"e{i}", s.render(), caption=s.caption()) for i, s in enumerate(scenes)]


@pytest.fixture(scope="session")
def random_recogniser(tmp_path_factory) -> tuple[Path, ShapesCLIP]:
    """A recogniser with random weights, and its folder."""
    from transformers import CLIPTokenizer

    folder = tmp_path_factory.mktemp("shapes")
    letters = [chr(c) for c in range(33, 127)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "re", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\nr e\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder / "tokenizer")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ShapesCLIP(ShapesCLIPConfig(vocab_size=len(tokens), max_tokens=16))
    model.save_pretrained(folder / "recogniser")
    return folder, model.eval()


@pytest.fixture
def recogniser(random_recogniser, monkeypatch) -> ShapesCLIP:
    """The recogniser with random weights, used in place of the embedded one."""
    folder, model = random_recogniser
    monkeypatch.setattr("sde_edit.evaluation.recognition.SHAPES_FOLDER", folder)
    return model


SMALL = ["steps=4", "metrics=[psnr]", "hardware.threads=1", "hardware.batch_size=2"]


@pytest.fixture
def small(tiny_model, tmp_path):
    return [*SMALL, "data.limit=6", f"model.path={tiny_model}", f"paths.results={tmp_path}"]
