"""EGSDE against its published update, written out plainly."""

import json
import shutil

import pytest
import torch
import torch.nn.functional as F

from sde_edit.datasets.shapes_classes import ShapesClasses
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.editing.batch import images
from sde_edit.errors import UserError
from sde_edit.models.classified_diffusion import ClassifiedDiffusion
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.registry import build
from tests.builders import build_task

IDS = ("test-000000", "test-000001")
STEPS = 8
GRID = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(STEPS)
WEIGHTS = {"realism": 3.0, "faithfulness": 0.5}


@pytest.fixture(scope="module")
def source(tiny_model, tiny_classifier):
    return ClassifiedDiffusion(str(tiny_model), 64, str(tiny_classifier))


@pytest.fixture(scope="module")
def model(source):
    return source.load("cpu", "float64")


def given(ids=IDS):
    return [ShapesClasses().load(i) for i in ids], Noise(0, tuple(ids))


def edit(task, model, ids=IDS, sampler="sde"):
    examples, noise = given(ids)
    with torch.inference_mode():
        return task.edit(examples, model, build("samplers", sampler, {}), GRID, noise)


def published(model, task):
    """The published loop: the mean of DDPM, moved by beta / sqrt(1 - beta) times each gradient."""
    examples, noise = given()
    part = GRID.truncated(task.t_0)
    eps = model.denoiser([e.target for e in examples], task.guidance)
    x_0 = model.encode(images(examples)).detach()
    e = noise.like(x_0, "source")
    y = part.alpha[0] ** 0.5 * x_0 + (1 - part.alpha[0]) ** 0.5 * e

    def low(z):
        small = F.interpolate(z, (task.low_pass,) * 2, mode="bicubic", antialias=True)
        return F.interpolate(small, z.shape[2:], mode="bicubic")

    for i, (s, a_s, a_t) in enumerate(part.intervals()):
        t = torch.full((len(y),), s, dtype=y.dtype)
        x = a_s**0.5 * x_0 + (1 - a_s) ** 0.5 * e
        with torch.enable_grad():
            z = y.detach().requires_grad_()
            Y, X = (F.normalize(model.domain_features(v, t), dim=1) for v in (z, x))
            alike = (Y * X).sum(1).flatten(1).mean(1)
            apart = (low(z) - low(x)).square().sum(dim=(1, 2, 3))
            energy = task.realism * alike + task.faithfulness * apart
            (slope,) = torch.autograd.grad(energy.sum(), z)
        beta = 1 - a_s / a_t
        with torch.no_grad():
            mean = (y - beta / (1 - a_s) ** 0.5 * eps(y, t)) / (1 - beta) ** 0.5
            sigma = ((1 - a_t) / (1 - a_s) * beta) ** 0.5
            y = mean - beta / (1 - beta) ** 0.5 * slope + sigma * noise.like(y, "decode", i)
    return model.decode(y)


@pytest.mark.parametrize("only", [{}, {"realism": 0.0}, {"faithfulness": 0.0}])
def test_it_is_the_published_update(model, only):
    task = build_task("egsde", **(WEIGHTS | only))
    with torch.no_grad():
        expected = published(model, task)
    assert (edit(task, model).int() - expected.int()).abs().max() <= 1  # rounding


def test_without_energies_it_is_sdedit(model):
    """But for the noise at the start: SDEdit's state is that of the forward process."""
    task = build_task("egsde", realism=0.0, faithfulness=0.0)
    examples, noise = given()
    grid = GRID.truncated(task.t_0)
    x_0 = model.encode(images(examples))
    start = grid.alpha[0] ** 0.5 * x_0 + (1 - grid.alpha[0]) ** 0.5 * noise.like(x_0, "source")
    with torch.inference_mode():
        eps = model.denoiser([e.target for e in examples], 1.0)
        x = build("samplers", "sde", {}).decode(eps, start, grid, noise)
        assert torch.equal(edit(task, model), model.decode(x))


def test_each_energy_does_what_it_is_for(model):
    """More faithfulness brings the low frequencies nearer to the source's."""
    examples, _ = given()
    small = images(examples).permute(0, 3, 1, 2).float()

    def distance(**weights):
        out = edit(build_task("egsde", realism=0.0, **weights), model).permute(0, 3, 1, 2).float()
        return F.adaptive_avg_pool2d(out - small, 4).abs().mean()

    assert distance(faithfulness=1.0) < distance(faithfulness=0.0)


def test_an_image_does_not_depend_on_the_batch(model):
    task = build_task("egsde", **WEIGHTS)
    alone = torch.cat([edit(task, model, ids=(i,)) for i in IDS])
    assert (edit(task, model).int() - alone.int()).abs().max() <= 1


def test_the_cost_is_as_planned(model):
    task, before = build_task("egsde", guidance=3.0, **WEIGHTS), model.evaluations
    edit(task, model)
    assert model.evaluations - before == len(IDS) * task.evaluations_per_image(STEPS)


def test_a_model_without_a_classifier_is_refused(tiny_model):
    model = StableDiffusion(str(tiny_model), 64).load("cpu", "float32")
    with pytest.raises(UserError, match=r"needs a model with a classifier.*shapes_classifier"):
        build_task("egsde").check_model(model)
    build_task("egsde", realism=0.0).check_model(model)


def test_a_map_larger_than_the_state_is_refused(model):
    with pytest.raises(UserError, match=r"task.low_pass=9 would enlarge .* of 8 x 8 cells"):
        build_task("egsde", low_pass=9).check_model(model)


def test_a_classifier_of_other_latents_is_refused(tiny_model, tiny_classifier, tmp_path):
    shutil.copytree(tiny_classifier, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"in_channels": 16}))
    with pytest.raises(UserError, match=r"latents of 16 channels, those of model\.path have 4"):
        ClassifiedDiffusion(str(tiny_model), 64, str(tmp_path)).digest()


@pytest.mark.parametrize("damage", ["{}", '{"in_channels": 4, "side": 4, "classes": 3, "unet": 1}'])
def test_a_folder_without_a_classifier_is_refused(tiny_model, tiny_classifier, damage, tmp_path):
    shutil.copytree(tiny_classifier, tmp_path, dirs_exist_ok=True)
    (tmp_path / "config.json").write_text(damage)
    with pytest.raises(UserError, match=r"config.json.*Give model.classifier"):
        ClassifiedDiffusion(str(tiny_model), 64, str(tmp_path)).load("cpu", "float32")


def test_the_classifier_is_in_the_digest(source, tiny_model):
    assert source.digest() != StableDiffusion(str(tiny_model), 64).digest()
