"""The architecture of random_adm.py is the official one, and the networks read its files."""

import math
import runpy
from pathlib import Path

import torch

from sde_edit.networks import guided_diffusion
from tests.builders import ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "random_adm.py"))
UNET, CLASSIFIER = "256x256_diffusion.pt", "256x256_classifier.pt"


def test_the_files_have_the_official_names_and_sizes():
    millions = {
        name: round(sum(map(math.prod, shapes.values())) / 1e6, 1)
        for name, shapes in SCRIPT["official"]().items()
    }
    assert millions == {UNET: 553.8, CLASSIFIER: 54.1}


def test_the_networks_take_tensors_of_these_shapes(monkeypatch):
    """Tensors that have a shape and no values."""

    def read(file, required, device="cpu"):
        shapes = SCRIPT["official"]()[file.name]
        return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}

    monkeypatch.setattr(guided_diffusion, "_read", read)
    unet = guided_diffusion.load_unet(Path(UNET), torch.float32, head_channels=64)
    assert unet.config.num_class_embeds == 1000
    assert unet.config.block_out_channels == [256, 256, 512, 512, 1024, 1024]
    classifier = guided_diffusion.load_classifier(
        Path(CLASSIFIER), torch.float32, resolution=256, head_channels=64
    )
    assert classifier.classes == 1000
