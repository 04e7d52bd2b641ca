"""Inputs and networks that tests of metrics and of evaluation share."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sde_edit.api.example import Example
from sde_edit.datasets.coco import Coco
from sde_edit.datasets.coco_bison import CocoBison
from sde_edit.datasets.folder import Folder
from sde_edit.imaging.shapes_world import scene_of
from sde_edit.networks.recogniser import ShapesCLIP, ShapesCLIPConfig
from sde_edit.registry import build
from tests.builders import box_mask, picture
from tests.unit import coco_files
from tests.unit.dragbench_files import write_100

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


@pytest.fixture
def small(tiny_model, tmp_path):
    """Overrides for quick runs of six images."""
    quick = ["steps=4", "metrics=[psnr]", "hardware.threads=1", "hardware.batch_size=2"]
    return [*quick, "data.limit=6", f"model.path={tiny_model}", f"paths.results={tmp_path}"]


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Two images and their masks, white box = rows 0-15, columns 0-7."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for seed, stem in enumerate(("a", "b")):
        picture(seed=seed).save(tmp_path / "images" / f"{stem}.png")
        box_mask().save(tmp_path / "masks" / f"{stem}.png")
    return tmp_path


@pytest.fixture
def make_folder(image_folder: Path) -> Callable[..., Folder]:
    """Makes the data set of the image folder, with these settings."""

    def folder(**settings: Any) -> Folder:
        paths = {"images": str(image_folder / "images"), "mask_root": str(image_folder / "masks")}
        own = {**paths, "hole": "white", "resolution": 32}
        built = build("datasets", "folder", own | settings)
        assert isinstance(built, Folder)
        return built

    return folder


@pytest.fixture
def drag_root(tmp_path: Path) -> Path:
    """Three items of the paper's set: without mask, with one, and with one that is all white."""
    root = tmp_path / "data"
    write_100(root, "0/bear", [[4, 20]], [[6, 10]])
    tree = write_100(root, "0/tree", [[5, 5], [8, 8]], [[9, 9], [8, 12]])
    box_mask(32, 32, (0, 0, 16, 32)).save(tree / "mask.png")
    girl = write_100(root, "1/girl", [[1, 2]], [[3, 4]])
    box_mask(32, 32, (0, 0, 32, 32)).save(girl / "mask.png")
    return root


@pytest.fixture
def coco_root(tmp_path: Path) -> Path:
    """COCO and COCO-BISON in eight images."""
    coco_files.write_all(tmp_path)
    return tmp_path


@pytest.fixture(params=["coco", "coco_bison"])
def pairs(request: pytest.FixtureRequest, coco_root: Path) -> Callable[..., Any]:
    """Makes either data set with these settings."""
    return partial(coco_files.data_set, request.param, coco_root)


@pytest.fixture
def coco(coco_root: Path) -> Callable[..., Coco]:
    """Makes COCO with these settings."""
    return partial(coco_files.data_set, "coco", coco_root)


@pytest.fixture
def bison(coco_root: Path) -> Callable[..., CocoBison]:
    """Makes COCO-BISON with these settings."""
    return partial(coco_files.data_set, "coco_bison", coco_root)
