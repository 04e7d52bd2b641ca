"""Null-text inversion."""

import dataclasses

import pytest
import torch

from sde_edit.datasets.shapes import Shapes
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.editing.batch import images
from sde_edit.editing.null_text import NullText, rows_per_step
from sde_edit.registry import build

GRID = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(4)
PAIRS = [("a b c d", "a x c d"), ("q r s", "q r t s u v")]


@pytest.fixture(scope="module")
def model(sharpened_model):
    return sharpened_model


@pytest.fixture(scope="module")
def state(model):
    generator = torch.Generator().manual_seed(0)
    shape = (GRID.steps + 1, len(PAIRS), *model.latent_shape)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def examples(pairs=PAIRS):
    data = Shapes()
    loaded = [data.load(f"test-{i:06d}") for i in range(len(pairs))]
    return [
        dataclasses.replace(example, caption=caption, target=target)
        for example, (caption, target) in zip(loaded, pairs, strict=True)
    ]


def reconstruction_error(model, guidance, steps):
    """Of DDIM from the top of its inversion: mean square, per example."""
    with torch.inference_mode():
        before = [before for before, _ in PAIRS]
        x_0, up = model.encode(images(examples())), model.denoiser(before, 1.0)
        source = build("samplers", "ode", {}).encode(up, x_0, GRID, Noise(0, ("a", "b")))
        given = model.embed(before), model.embed(["", ""])
        _, x = NullText(model, guidance, steps).fit(source.states, GRID, *given)
        return (x - x_0).square().mean((1, 2, 3))


def test_null_text_brings_ddim_back(model):
    plain, some, more = (reconstruction_error(model, 7.5, steps) for steps in (0, 5, 50))
    assert (some < 0.8 * plain).all()
    assert (more < 0.2 * plain).all()


def test_an_example_near_enough_stops_by_itself(model, state):
    """One whose prompt is the null condition is where it shall be from the start."""
    prompts, path, steps = ["", "q r s"], [], 3

    def record(x, i):
        path.append(x)
        return x

    with torch.inference_mode():
        eps = model.denoiser(prompts, 1.0)
        build("samplers", "ode", {}).decode(eps, state[0], GRID, Noise(0, ("a", "b")), record)
        text, before = model.embed(prompts), model.evaluations
        fit = NullText(model, 7.5, steps).fit
        nulls, x = fit(torch.stack(path), GRID, text, model.embed(["", ""]))
    near, far = rows_per_step(1), rows_per_step(steps)
    assert model.evaluations - before == GRID.steps * (near + far)
    torch.testing.assert_close(nulls[:, 0], text[0].expand_as(nulls[:, 0]), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(x[0], path[-1][0], rtol=1e-6, atol=1e-6)
    assert (nulls[:, 1] - text[0]).abs().max() > 1e-3
