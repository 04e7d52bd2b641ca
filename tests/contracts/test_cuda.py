"""A GPU gives what the CPU gives. Placement without a GPU: test_placement.py."""

import pytest
import torch

from sde_edit.contracts import tasks
from sde_edit.diffusion.noise import Noise
from sde_edit.engine.attempt import pick_device
from sde_edit.models.stable_diffusion import StableDiffusion
from tests.builders import build_task
from tests.contracts.test_models import GUIDANCE, WORDS, images, kind, settings, source
from tests.contracts.test_placement import OWN_SETTINGS, pairs

__all__ = ["kind", "settings", "source"]  # fixtures

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated"),  # the compiler
]

# Weights are float64, but diffusers embeds the time in float32. Seen on an H100: 5e-7.
CLOSE = {"rtol": 0, "atol": 2e-6}
TRAINED = [
    ("drag", "sde", {"lora_steps": 3}),
    ("drag_diffusion", "ode", {"lora_steps": 3, "drag_steps": 2}),
    ("null_text", "ode", {}),
]
CASES = [(*pair, OWN_SETTINGS.get(pair[0], {})) for pair in pairs()] + TRAINED


@pytest.fixture(autouse=True)
def _cuda():
    """As a run chooses it: without TF32."""
    pick_device("cuda")


def loaded(folder, device, dtype="float64", compile=False):
    return StableDiffusion(str(folder), 64).load(device, dtype, compile)


@pytest.mark.parametrize(("task", "sampler", "own"), CASES)
def test_task_gives_the_images_of_the_cpu(task, sampler, own, tiny_model):
    """Up to one level, where a value lies between two."""
    built = build_task(task, **{"prompt": "{caption}"} | own)
    on = {
        device: tasks.edited(tasks.Subject(built, loaded(tiny_model, device)), sampler=sampler)
        for device in ("cpu", "cuda")
    }
    apart = (on["cpu"][0].int() - on["cuda"][0].int()).abs()
    assert apart.max() <= 1
    assert (apart > 0).float().mean() < 1e-3
    assert on["cpu"][1] == on["cuda"][1]


def eps_of(source, kind, device, dtype, compile=False):
    """eps and the decoded state, of two examples at two times."""
    model = source.load(device, dtype, compile)
    with torch.inference_mode():
        given = images(source)
        x = model.encode(given).to(model.state_dtype)
        hints = {"hints_BHWC": given} if kind == "controlnet" else {}
        eps = model.denoiser(WORDS.get(kind, ("a b", "c")), GUIDANCE.get(kind, 3.0), **hints)
        e = eps(x, torch.tensor([500.0, 20.0], dtype=x.dtype))
        return e.double().cpu(), model.decode(x).int()


def test_model_predicts_what_it_does_on_the_cpu(kind, source):
    there, here = (eps_of(source, kind, device, "float64") for device in ("cuda", "cpu"))
    torch.testing.assert_close(there[0], here[0], **CLOSE)
    assert (there[1] - here[1]).abs().max() <= 1


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-4), ("bfloat16", 0.1)])
def test_model_in_fewer_bits_is_near(kind, source, dtype, bound):
    """float32 without TF32, whose error would be ten times the bound."""
    there, exact = eps_of(source, kind, "cuda", dtype)[0], eps_of(source, kind, "cpu", "float64")[0]
    assert (there - exact).norm() <= bound * exact.norm()


def test_compiled_model_is_near(kind, source):
    if kind == "gmm":
        pytest.skip("has no network")
    fast, eager = (eps_of(source, kind, "cuda", "float32", compile=on)[0] for on in (True, False))
    assert (fast - eager).norm() <= 1e-4 * eager.norm()


def test_compiled_lora_is_near(tiny_model):
    found = []
    for compile in (True, False):
        model = loaded(tiny_model, "cuda", "float32", compile)
        sizes = model._lora_unet.sizes(2)
        weights = {name: torch.full(size, 0.01) for name, size in sizes.items()}
        x = torch.ones(2, *model.latent_shape, device="cuda")
        with torch.inference_mode(), model.adapted([weights, weights], lambda t_R: t_R / 1000):
            found.append(model.denoiser(["a", "b"], 3.0)(x, torch.tensor([500.0, 20.0])))
    assert (found[0] - found[1]).norm() <= 1e-4 * found[1].norm()


def test_noise_is_that_of_the_cpu():
    """Drawn ahead from the third step on."""
    noise = Noise(0, ("a", "b"))
    here = torch.empty(2, 4, 8, 8)
    for step in range(6):
        there = noise.like(here.cuda(), "decode", step)
        assert torch.equal(there.cpu(), noise.like(here, "decode", step))


def test_an_image_does_not_depend_on_its_batch(tiny_model):
    subject = tasks.Subject(
        build_task("inpaint", prompt="{caption}"), loaded(tiny_model, "cuda", "float64")
    )
    together = tasks.edited(subject, sampler="sde")[0]
    alone = [tasks.edited(subject, [i], sampler="sde")[0] for i in tasks.IDS]
    assert (together.int() - torch.cat(alone).int()).abs().max() <= 1
