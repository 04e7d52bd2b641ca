"""h-Edit against its published update, written out plainly."""

import pytest
import torch

from sde_edit.datasets.shapes_edits import ShapesEdits
from sde_edit.diffusion.denoiser import at
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.editing.batch import images
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.registry import build
from tests.builders import build_task

IDS = ("test-000000", "test-000001")
STEPS = 8
GRID = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(STEPS)


@pytest.fixture(scope="module")
def model(tiny_model):
    return StableDiffusion(str(tiny_model), 64).load("cpu", "float64")


def given(ids=IDS):
    return [ShapesEdits().load(i) for i in ids], Noise(0, tuple(ids))


def edit(task, model, ids=IDS, sampler="sde"):
    examples, noise = given(ids)
    with torch.inference_mode():
        return task.edit(examples, model, build("samplers", sampler, {}), GRID, noise)


def parts_of_ddpm(a_s, a_t):
    """Factors of x and of eps in the mean of a DDPM step, and sigma (DDIM's Eq. 12 with eta 1)."""
    sigma = ((1 - a_t) / (1 - a_s) * (1 - a_s / a_t)) ** 0.5
    of_x = (a_t / a_s) ** 0.5
    return of_x, (1 - a_t - sigma**2) ** 0.5 - of_x * (1 - a_s) ** 0.5, sigma


def published(model, task):
    """Eq. 22 to 25: the noise z of each step from the states of the image, then the edit."""
    examples, noise = given()
    before, after, null = ([getattr(e, k, "") for e in examples] for k in ("caption", "target", ""))
    guided = {
        "orig": model.denoiser(before, task.source_guidance, null),
        "hat": model.denoiser(before, task.change_guidance, null),
        "edit": model.denoiser(after, task.guidance, null),
    }
    part = GRID.truncated(task.t_0)
    inversion = build("samplers", "sde", {}).encode(
        guided["orig"], model.encode(images(examples)), part, noise
    )
    zs = []
    for i, (s, a_s, a_t) in enumerate(part.intervals()):
        of_x, of_eps, sigma = parts_of_ddpm(a_s, a_t)
        mean = of_x * inversion.states[i] + of_eps * at(guided["orig"], inversion.states[i], s)
        zs.append((inversion.states[i + 1] - mean) / sigma)

    def corrected(x, t, a_s, a_t):
        return x + parts_of_ddpm(a_s, a_t)[1] * (at(guided["edit"], x, t) - at(guided["hat"], x, t))

    x = inversion.states[0]
    if part.steps < STEPS:
        first = STEPS - part.steps
        x = corrected(x, GRID.t[first], GRID.alpha[first - 1], GRID.alpha[first])
    for (s, a_s, a_t), t, z in zip(part.intervals(), part.t[1:], zs, strict=True):
        of_x, of_eps, sigma = parts_of_ddpm(a_s, a_t)
        base = of_x * x + of_eps * at(guided["orig"], x, s) + sigma * z
        x = corrected(base, t, a_s, a_t)
    return model.decode(x)


@pytest.mark.parametrize("t_0", [1.0, 0.5])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_it_is_the_published_update(model, t_0, guidance):
    task = build_task("hedit", t_0=t_0, guidance=guidance, change_guidance=2.0)
    with torch.inference_mode():
        expected = published(model, task)
    assert (edit(task, model).int() - expected.int()).abs().max() <= 1  # rounding


def test_without_a_change_the_source_comes_back(model):
    task = build_task("hedit", prompt="{caption}", guidance=3.0, change_guidance=3.0)
    examples, _ = given()
    with torch.inference_mode():
        expected = model.decode(model.encode(images(examples)))
    assert torch.equal(edit(task, model), expected)


@pytest.mark.parametrize("t_0", [1.0, 0.5])
def test_the_cost_is_as_planned(model, t_0):
    task, before = build_task("hedit", t_0=t_0), model.evaluations
    edit(task, model)
    assert model.evaluations - before == len(IDS) * task.evaluations_per_image(STEPS)


def test_an_image_does_not_depend_on_the_batch(model):
    task = build_task("hedit")
    alone = torch.cat([edit(task, model, ids=(i,)) for i in IDS])
    assert (edit(task, model).int() - alone.int()).abs().max() <= 1
