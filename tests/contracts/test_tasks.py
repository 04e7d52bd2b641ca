"""What every task owes, on a small random model and the embedded scenes."""

import dataclasses

import numpy as np
import pytest
import torch

from sde_edit.api.example import Drag
from sde_edit.datasets.shapes import Shapes
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.errors import UserError
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.registry import build, names
from tests.builders import build_task

IDS = tuple(f"test-{i:06d}" for i in range(4))


OWN_SETTINGS = {  # few steps, so that no example stops early and the plan is what it costs
    "diffedit": {"source_prompt": "a b"},  # another than the target's, or the mask is empty
    "drag": {"lora_steps": 1},
    "null_text": {"null_steps": 2},
    "drag_diffusion": {"drag_steps": 1, "lora_steps": 1},
}


GRID = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(3)


@pytest.fixture(scope="module")
def model(tiny_model):
    return StableDiffusion(str(tiny_model), 64).load("cpu", "float64")


@pytest.fixture(params=names("task"))
def task(request):
    own = OWN_SETTINGS.get(request.param, {})
    return build_task(request.param, **({"prompt": "{caption}"} | own))


def samplers(task):
    """Two samplers that it works with, or the only one."""
    return task.samplers or ("sde", "ode")


def example(example_id):
    """A scene with a mask, and a drag by one cell of the latent: one drag step."""
    return dataclasses.replace(Shapes().load(example_id), drags=(Drag((24, 28), (32, 28)),))


def prepared(task, model, examples):
    """What the engine hands to `edit`, without its cache."""
    results = {}
    for preparation in task.preparations:
        noise = Noise(0, tuple(preparation.key(one) for one in examples))
        with torch.inference_mode():
            contents = preparation.compute(examples, model, GRID, noise)
        pairs = zip(contents, examples, strict=True)
        results[preparation.name] = [preparation.read(*pair) for pair in pairs]
    return results


def edit(task, model, ids, sampler=None):
    return edit_and_count(task, model, ids, sampler)[0]


def edit_and_count(task, model, ids, sampler=None):
    method = build("samplers", sampler or samplers(task)[0], {})
    examples, noise = [example(i) for i in ids], Noise(0, tuple(ids))
    results = prepared(task, model, examples)
    before = model.evaluations
    with torch.inference_mode():
        images = task.edit(examples, model, method, GRID, noise, results)
    return images, model.evaluations - before


def announced(task, model, example_id):
    native = model.latent_shape[1:]
    return task.evaluations_of(example(example_id), 3, native, native)


def test_gives_one_uint8_image_per_example(task, model):
    images = edit(task, model, IDS)
    assert images.shape == (4, 64, 64, 3)
    assert images.dtype == torch.uint8


def test_batch_of_four_is_four_batches_of_one(task, model):
    together = edit(task, model, IDS)
    alone = torch.cat([edit(task, model, [i]) for i in IDS])
    assert torch.equal(together, alone)


def test_the_sampler_matters_and_the_plan_counts_right(task, model):
    ode, cost = edit_and_count(task, model, IDS, "ode")
    assert cost == sum(announced(task, model, i) for i in IDS)
    assert task.cost_varies or cost == len(IDS) * task.evaluations_per_image(3)
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
