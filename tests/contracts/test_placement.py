"""Nothing mixes devices, and nothing waits for the device in a step: every task x sampler, and
every kind of model, on a CUDA device that computes nothing.

What takes gradients (LoRA, null texts, a classifier, EGSDE's energies) needs a real device, and is
left out.
"""

import pytest
import torch

from sde_edit.contracts import tasks
from sde_edit.diffusion import host
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.registry import names
from tests.builders import build_task
from tests.contracts.test_models import GUIDANCE, WORDS, images, kind, settings, source
from tests.fake_cuda import fake_cuda, to_fake_cuda

__all__ = ["kind", "settings", "source"]  # fixtures

IMAGE = 2  # reads of a batch: are all values finite, and the image
READS = {  # further ones, and why
    "diffedit": 1,  # the mask is found once, and kept
    "drag_diffusion": 4,  # two images of one optimisation step each: is all free, has it arrived
}
OWN_SETTINGS = {
    "diffedit": {"source_prompt": "a b"},
    "drag": {"lora_steps": 0},
    "drag_diffusion": {"lora_steps": 0, "drag_steps": 1},
    "egsde": {"realism": 0.0, "faithfulness": 0.0},
}
OPTIMISES = {"null_text"}
ELSEWHERE = {"external"}  # samplers without steps
NO_ENCODER = {"plms", "bdia_edm"}


def pairs():
    for task in sorted(set(names("task")) - OPTIMISES):
        built = build_task(task, **OWN_SETTINGS.get(task, {}))
        for sampler in sorted(set(built.samplers or names("sampler")) - ELSEWHERE):
            if sampler not in NO_ENCODER or not built.inverts:
                yield task, sampler


@pytest.fixture
def model(tiny_model):
    return StableDiffusion(str(tiny_model), 64).load("cpu", "bfloat16")


@pytest.mark.parametrize(("task", "sampler"), list(pairs()))
def test_task_stays_on_the_device(task, sampler, model, monkeypatch):
    own = {"prompt": "{caption}"} | OWN_SETTINGS.get(task, {})
    with fake_cuda(monkeypatch) as reads:
        subject = tasks.Subject(build_task(task, **own), to_fake_cuda(model))
        for steps in (3, 5):
            reads.shapes.clear()
            monkeypatch.setattr(tasks, "STEPS", steps)
            tasks.edited(subject, sampler=sampler)
            assert len(reads.shapes) == IMAGE + READS.get(task, 0), (steps, reads.shapes)


def test_lora_stays_on_the_device(model, monkeypatch):
    sizes = model._lora_unet.sizes(2)
    with fake_cuda(monkeypatch) as reads:
        to_fake_cuda(model)
        adapters = [{name: torch.zeros(size) for name, size in sizes.items()} for _ in range(2)]
        x = torch.empty(2, *model.latent_shape, device="cuda")
        with torch.inference_mode(), model.adapted(adapters, lambda t_R: t_R / 1000):
            model.denoiser(["a", "b"], 1.0)(x, torch.tensor([500.0, 20.0]))
        assert not reads.shapes


def test_model_stays_on_the_device(kind, source, monkeypatch):
    loaded = source.load("cpu", "bfloat16")
    with fake_cuda(monkeypatch) as reads, torch.inference_mode():
        to_fake_cuda(loaded)
        given = images(source)
        x = loaded.encode(given)
        hints = {"hints_BHWC": given} if kind == "controlnet" else {}
        guidance = 0.0 if kind == "adm" else GUIDANCE.get(kind, 3.0)
        eps = loaded.denoiser(WORDS.get(kind, ("a b", "c")), guidance, **hints)
        e = eps(x, torch.tensor([500.0, 20.0]))
        assert e.device.type == x.device.type == "cuda"
        assert not reads.shapes
        assert loaded.decode(x).device.type == "cpu"
        assert len(reads.shapes) == IMAGE


def test_a_tensor_on_the_wrong_device_is_noticed(model, monkeypatch):
    with fake_cuda(monkeypatch), torch.inference_mode():
        eps = to_fake_cuda(model).denoiser(["a", "b"], 1.0)
        with pytest.raises(RuntimeError, match="device"):
            eps(torch.empty(2, *model.latent_shape), torch.tensor([500.0, 20.0]))


def test_a_read_is_noticed(monkeypatch):
    with fake_cuda(monkeypatch) as reads:
        host.read(torch.empty(3, device="cuda"))
        assert reads.shapes == [(3,)]
