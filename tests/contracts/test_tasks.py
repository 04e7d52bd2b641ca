"""What every task owes, on a small random model and the embedded scenes."""

import dataclasses

import numpy as np
import pytest
import torch

from sde_edit.api.example import Drag
from sde_edit.api.task import CostsByExample, Selective
from sde_edit.config import compose_config
from sde_edit.datasets.shapes import Shapes
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.errors import UserError
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.registry import build, names

IDS = tuple(f"test-{i:06d}" for i in range(4))
NONE_STOPS_EARLY = {"drag_diffusion": {"drag_steps": 1}}  # so that the plan is what it costs


@pytest.fixture(scope="module")
def model(tiny_model):
    return StableDiffusion(str(tiny_model), 64).load("cpu", "float64")


@pytest.fixture(params=names("task"))
def task(request):
    settings = compose_config([f"task={request.param}"])["task"]
    kind = settings.pop("kind")
    name = settings.pop("name")
    return build("tasks", kind, settings | {"prompt": "{caption}"} | NONE_STOPS_EARLY.get(name, {}))


def samplers(task):
    """Two samplers that it works with, or the only one."""
    return (task.samplers if isinstance(task, Selective) else ()) or ("sde", "ode")


def example(example_id):
    """A scene with a mask, and a drag by one cell of the latent: one drag step."""
    return dataclasses.replace(Shapes().load(example_id), drags=(Drag((24, 28), (32, 28)),))


def edit(task, model, ids, sampler=None):
    sampler = sampler or samplers(task)[0]
    grid = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(3)
    noise = Noise(0, tuple(ids))
    with torch.inference_mode():
        return task.edit(
            [example(i) for i in ids], model, build("samplers", sampler, {}), grid, noise
        )


def announced(task, model, example_id):
    if not isinstance(task, CostsByExample):
        return task.evaluations_per_image(3)
    return task.evaluations_of(example(example_id), 3, model.latent_shape[1:])


def test_gives_one_uint8_image_per_example(task, model):
    images = edit(task, model, IDS)
    assert images.shape == (4, 64, 64, 3)
    assert images.dtype == torch.uint8


def test_batch_of_four_is_four_batches_of_one(task, model):
    together = edit(task, model, IDS)
    alone = torch.cat([edit(task, model, [i]) for i in IDS])
    assert torch.equal(together, alone)


def test_the_sampler_matters_and_the_plan_counts_right(task, model):
    before = model.evaluations
    ode = edit(task, model, IDS, "ode")
    assert model.evaluations - before == sum(announced(task, model, i) for i in IDS)
    for other in samplers(task):
        assert other == "ode" or not torch.equal(ode, edit(task, model, IDS, other))


def test_leaves_the_global_generators_alone(task, model):
    torch.manual_seed(0)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    edit(task, model, IDS[:1])
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002


def test_refuses_what_it_cannot_edit_by_name(task):
    whole = example(IDS[0])
    task.check(whole)
    masks = (None, np.zeros((64, 64), np.float32), np.ones((32, 64), np.float32))
    broken_masks = [dataclasses.replace(whole, mask=mask) for mask in masks if task.uses_mask]
    for broken in (*broken_masks, dataclasses.replace(whole, caption="")):
        with pytest.raises(UserError, match=IDS[0]):
            task.check(broken)
