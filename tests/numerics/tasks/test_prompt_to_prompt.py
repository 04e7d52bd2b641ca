"""Prompt-to-Prompt on a small random pipeline, in float64."""

import dataclasses

import pytest
import torch

from sde_edit.config import experiment
from sde_edit.datasets.shapes import Shapes
from sde_edit.diffusion.denoiser import at
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.editing.batch import images
from sde_edit.errors import UserError
from sde_edit.registry import build

GRID = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(4)
PROMPTS = {"source_prompt": "{caption}", "prompt": "{target}"}
PAIRS = [("a b c d", "a x c d"), ("q r s", "q r t s u v")]


@pytest.fixture(scope="module")
def model(sharpened_model):
    return sharpened_model


def task(**settings):
    defaults = {**PROMPTS, "source_guidance": 3.0, "guidance": 3.0}
    return build("tasks", "prompt_to_prompt", defaults | settings)


def examples(pairs=PAIRS):
    data = Shapes()
    loaded = [data.load(f"test-{i:06d}") for i in range(len(pairs))]
    return [
        dataclasses.replace(example, caption=caption, target=target)
        for example, (caption, target) in zip(loaded, pairs, strict=True)
    ]


def edited(p2p, model, batch, sampler="ode"):
    noise = Noise(0, tuple(example.id for example in batch))
    with torch.inference_mode():
        return p2p.edit(batch, model, build("samplers", sampler, {}), GRID, noise)


# ------------------------------------------------------------------ the task


@pytest.mark.parametrize("sampler", ["ode", "sde", "edict", "bdia"])
def test_without_shares_it_is_a_round_trip(model, sampler):
    batch = examples()
    plain = build("tasks", "translate", PROMPTS)
    p2p = task(cross_replace=0.0, self_replace=0.0)
    assert torch.equal(edited(p2p, model, batch, sampler), edited(plain, model, batch, sampler))


@pytest.mark.parametrize("settings", [
    {}, {"mode": "replace"}, {"cross_replace": 0.0}, {"self_replace": 0.0},
    {"reweight": {"x": 5.0}}, {"null_steps": 2, "source_guidance": 1.0},
])  # fmt: skip
def test_a_batch_is_its_examples_and_control_changes_them(model, settings):
    pairs = [("a b c d", "a x c d"), ("q r s", "q x s")]
    batch, p2p = examples(pairs), task(**({"self_max_side": 8} | settings))
    together = edited(p2p, model, batch)
    assert torch.equal(together, torch.cat([edited(p2p, model, [one]) for one in batch]))
    off = settings | {"cross_replace": 0.0, "self_replace": 0.0, "reweight": {}}
    assert not torch.equal(together, edited(task(**off), model, batch))


def test_cycle_sde_returns_a_source_that_is_not_edited(model):
    same = examples([(before, before) for before, _ in PAIRS])
    out = edited(task(), model, same, "sde")
    with torch.inference_mode():
        assert torch.equal(out, model.decode(model.encode(images(same))))


def test_evaluations_are_the_plan(model):
    for settings in ({}, {"guidance": 1.0}, {"cross_replace": 0.25}, {"self_replace": 1.0}):
        p2p, before = task(**settings), model.evaluations
        edited(p2p, model, examples())
        assert model.evaluations - before == 2 * p2p.evaluations_per_image(GRID.steps)


def test_a_time_off_the_grid_is_refused(model):
    class Between(type(build("samplers", "ode", {}))):
        def decode(self, eps, x, grid, noise, project=None, inversion=None):
            for t in grid.t[:-1]:
                x = project(x, 0) if project else at(eps, x, t + 0.5)
            return x

    with pytest.raises(UserError, match=r"time 999\.5"):
        task().edit(examples(), model, Between(), GRID, Noise(0, ("a", "b")))


def test_what_it_cannot_do_is_said_before_the_network_is_asked(model):
    (example,) = examples([("a b", "a b c")])
    with pytest.raises(UserError, match=rf"{example.id}.*mode=refine"):
        task(mode="replace").check(example)
    (example,) = examples([("a b", "a " * 10**6)])
    with pytest.raises(UserError, match=rf"{example.id}: a prompt of 2,000,000 char") as error:
        task().check(example)
    assert len(str(error.value)) < 400
    settings = {"shape": (3, 8, 8), "components": [{"name": "a", "mean": 0.0, "sd": 1.0}]}
    gmm = build("models", "gmm", settings).load("cpu", "float64")
    with pytest.raises(UserError, match="stable_diffusion"):
        edited(task(), gmm, [example])
    for settings, key in (
        ({"cross_replace": 1.5}, "cross_replace"), ({"self_max_side": 0}, "self_max_side"),
        ({"null_steps": -1}, "null_steps"), ({"null_steps": 1, "guidance": 1.0}, "guidance"),
        ({"reweight": {"a": 2.0}, "cross_replace": 0.0}, "reweight"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=key):
            task(**settings)
    with pytest.raises(UserError, match="use sampler=ode"):
        experiment(["task=null_text", "sampler=sde", "data=shapes-edits"])


def test_null_text_leaves_no_gradients_behind(model):
    edited(task(null_steps=2, source_guidance=1.0), model, examples())
    assert all(weights.grad is None for weights in model.unet.parameters())
