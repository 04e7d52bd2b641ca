"""ADM: its classes, its schedule and its files."""

import shutil

import pytest
import torch

from sde_edit.errors import UserError
from sde_edit.models.adm import ADM, label_of

UNET, CLASSIFIER = "256x256_diffusion.pt", "256x256_classifier.pt"
LION, TIGER = "n02129165 lion", "n02129604 tiger"
TIMES = torch.tensor([900.0, 20.5], dtype=torch.float64)


# ------------------------------------------------------------------ the tests


@pytest.fixture(scope="module")
def x():
    generator = torch.Generator().manual_seed(5)
    return torch.randn(2, 3, 16, 16, generator=generator, dtype=torch.float64)


def eps(folder, x, guidance, dtype="float64"):
    model = ADM(str(folder), 16).load("cpu", dtype)
    with torch.inference_mode():
        return model.denoiser([LION, TIGER], guidance)(x, TIMES)


def test_the_schedule_is_linear_in_1000_steps(tiny_adm):
    alpha = torch.tensor(ADM(str(tiny_adm), 16).schedule().alpha, dtype=torch.float64)
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    torch.testing.assert_close(alpha, (1 - betas).cumprod(0))


def test_the_classifier_stays_float32_beside_a_unet_of_16_bits(tiny_adm, x):
    def added(dtype):
        return eps(tiny_adm, x, 1, dtype) - eps(tiny_adm, x, 0, dtype)

    torch.testing.assert_close(added("bfloat16"), added("float64"), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("prompt", "label"), [
    ("n01440764", 0), (LION, 291), ("n02129604 tiger, Panthera tigris", 292), ("n15075141", 999),
])  # fmt: skip
def test_a_prompt_names_its_class_by_the_wnid(prompt, label):
    assert label_of(prompt) == label


@pytest.mark.parametrize("prompt", ["", "lion", "n99999999 lion"])
def test_a_prompt_without_a_class_is_named(tiny_adm, prompt):
    model = ADM(str(tiny_adm), 16).load("cpu", "float32")
    with pytest.raises(UserError, match=f"prompt '{prompt}' names no class"):
        model.denoiser([LION, prompt], 1.0)


def test_a_class_has_no_negative(tiny_adm):
    model = ADM(str(tiny_adm), 16).load("cpu", "float32")
    with pytest.raises(UserError, match=r"task\.negative_prompt"):
        model.denoiser([LION], 1.0, ["ugly"])


@pytest.fixture
def copy(tiny_adm, tmp_path):
    shutil.copytree(tiny_adm, tmp_path, dirs_exist_ok=True)
    return tmp_path


def change(file, **tensors):
    """Set some tensors; None takes one away."""
    weights = torch.load(file, weights_only=True) | tensors
    torch.save({key: value for key, value in weights.items() if value is not None}, file)


@pytest.mark.parametrize("file", [UNET, CLASSIFIER])
def test_the_digest_is_of_both_files(tiny_adm, copy, file):
    assert ADM(str(copy), 16).digest() == ADM(str(tiny_adm), 16).digest()
    change(copy / file, more=torch.zeros(1))
    assert ADM(str(copy), 16).digest() != ADM(str(tiny_adm), 16).digest()


@pytest.mark.parametrize(("settings", "message"), [
    ({"resolution": 24}, r"model\.resolution=24"),
    ({"resolution": 32}, r"classifier\.pt: .*for model\.resolution"),
    ({"resolution": 16, "head_channels": 48}, r"model\.head_channels=48 does not divide 128"),
])  # fmt: skip
def test_settings_that_do_not_fit_are_named(tiny_adm, settings, message):
    with pytest.raises(UserError, match=message):
        ADM(str(tiny_adm), **settings).load("cpu", "float32")
