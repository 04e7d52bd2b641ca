"""Files of weights that are missing, damaged or hostile."""

import shutil
from pathlib import Path

import pytest
import torch

from sde_edit.errors import UserError
from sde_edit.models.adm import ADM

UNET, CLASSIFIER = "256x256_diffusion.pt", "256x256_classifier.pt"


@pytest.fixture
def copy(tiny_adm, tmp_path):
    shutil.copytree(tiny_adm, tmp_path, dirs_exist_ok=True)
    return tmp_path


def change(file, **tensors):
    """Set some tensors; None takes one away."""
    weights = torch.load(file, weights_only=True) | tensors
    torch.save({key: value for key, value in weights.items() if value is not None}, file)


def test_missing_files_are_named_with_where_they_are(copy):
    (copy / CLASSIFIER).unlink()
    with pytest.raises(UserError, match=rf"lacks {CLASSIFIER}; .*https://openaipublic\.blob"):
        ADM(str(copy), 16).digest()


@pytest.mark.parametrize("file", [UNET, CLASSIFIER])
def test_a_damaged_file_is_named(copy, file):
    (copy / file).write_bytes((copy / file).read_bytes()[:5000])
    with pytest.raises(UserError, match=f"{file} is truncated or damaged .* fetch it again"):
        ADM(str(copy), 16).digest()
    (copy / file).write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match=f"{file} cannot be read, fetch it again"):
        ADM(str(copy), 16).load("cpu", "float32")


def test_a_file_that_holds_code_is_refused(copy):
    torch.save({"label_emb.weight": Path("anything")}, copy / UNET)
    with pytest.raises(UserError, match=f"{UNET} cannot be read"):
        ADM(str(copy), 16).load("cpu", "float32")


@pytest.mark.parametrize(("file", "tensors", "message"), [
    (UNET, {"label_emb.weight": None}, r"no label_emb\.weight in it"),
    (CLASSIFIER, {"out.2.positional_embedding": None}, r"no out\.2\.positional_embedding in it"),
    (UNET, {"label_emb.weight": torch.zeros(10, 128)}, "has 10 classes"),
    (UNET, {"middle_block.0.in_layers.2.bias": None}, r"mid_block\.resnets\.0\.conv1\.bias"),
    (UNET, {"middle_block.3.norm.bias": torch.zeros(1)}, "hold 1 tensors that the network"),
    (CLASSIFIER, {"surplus": torch.zeros(1)}, "hold 1 tensors that the network"),
    (UNET, {"input_blocks.2.0.out_layers.3.weight": None}, "is it of resblock_updown, and"),
])  # fmt: skip
def test_what_does_not_fit_is_named(copy, file, tensors, message):
    change(copy / file, **tensors)
    with pytest.raises(UserError, match=message):
        ADM(str(copy), 16).load("cpu", "float32")
