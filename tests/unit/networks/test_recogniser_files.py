"""Files of the recogniser that are missing, damaged or of another network."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from sde_edit.errors import UserError
from sde_edit.networks.checkpoints import ASSETS
from sde_edit.networks.recogniser import ShapesCLIP


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(ASSETS / "shapes/recogniser", tmp_path / "recogniser")
    return tmp_path / "recogniser"


def refused(folder, message):
    with pytest.raises(UserError, match=message):
        ShapesCLIP.from_pretrained(folder)


def test_its_own_files_are_read(folder):
    assert ShapesCLIP.from_pretrained(folder).config.max_tokens == 16


def test_missing_files_are_named(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, "cannot read .*model.safetensors")
    (folder / "config.json").unlink()
    refused(folder, "config.json is missing")


def test_damaged_files_are_named(folder):
    weights, config = folder / "model.safetensors", folder / "config.json"
    weights.write_bytes(weights.read_bytes()[:-5])
    refused(folder, "model.safetensors is truncated")
    config.write_text("{")
    refused(folder, "config.json is not valid JSON")


def test_tensors_must_be_those_of_the_network(folder):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"more": torch.zeros(1)}, file)
    refused(
        folder, r"model.safetensors: the weights hold 1 tensors .* not have, such as more\. Reinst"
    )
    del tensors["stem.weight"]
    save_file(tensors, file)
    refused(folder, r"the weights lack 1 tensors of the network, such as stem\.weight\. Reinstall")
    save_file(tensors | {"stem.weight": torch.zeros(3)}, file)
    refused(folder, r"hold 1 tensors of another shape, such as stem\.weight, \[3\] for \[")
