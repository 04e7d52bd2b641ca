"""Compiled networks: what is traced again, and that the graphs compute what the networks do."""

from dataclasses import replace

import pytest
import torch

from sde_edit.api.example import Drag
from sde_edit.api.model import LoraSettings
from sde_edit.contracts import tasks
from sde_edit.diffusion.noise import Noise
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.registry import build
from tests.builders import build_task


def loaded(folder, *, compile):
    return StableDiffusion(str(folder), 64).load("cpu", "float64", compile)


@pytest.fixture
def both(tiny_model, graphs):
    """The tiny pipeline, eager and compiled."""
    return [loaded(tiny_model, compile=on) for on in (False, True)]


def eps(model, rows, guidance, adapters=(), scale=1.0):
    """eps of that many rows at times of their own, perhaps with LoRAs."""
    noise = Noise(rows, tuple(map(str, range(rows))))
    x = noise.like(torch.empty(rows, *model.latent_shape, dtype=torch.float64), "x")
    t = torch.linspace(10, 900, rows).double()
    predict = model.denoiser([f"word {row}" for row in range(rows)], guidance)
    if not adapters:
        return predict(x, t)
    with model.adapted(adapters[:rows], lambda t_R: scale * t_R / 1000):
        return predict(x, t)


def adapters(model, rows):
    noise = Noise(0, tuple(map(str, range(rows))))
    x = noise.like(torch.empty(rows, *model.latent_shape, dtype=torch.float64), "source")
    return model.fit_lora(x, ["word"] * rows, LoraSettings(rank=2, rate=0.1, steps=1), noise)


def test_a_graph_serves_every_number_of_rows_time_and_guidance(both, graphs):
    eager, compiled = both
    with torch.inference_mode():
        for rows, guidance in ((5, 1.0), (3, 3.0), (2, 7.5), (7, 0.0), (30, 3.0)):
            assert torch.equal(eps(compiled, rows, guidance), eps(eager, rows, guidance))
    assert graphs.frame_count == 1


def test_a_graph_serves_every_lora_and_scale(both, graphs):
    """And another the network without one; rows may hold a batch several times, or one example."""
    eager, compiled = both
    with torch.inference_mode():
        own = adapters(eager, 4)
        for rows, guidance, scale in ((4, 3.0, 1.0), (2, 1.0, 0.5), (1, 7.5, 0.0), (3, 3.0, 0.3)):
            expected, found = (eps(model, rows, guidance, own, scale) for model in both)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
            assert torch.equal(eps(compiled, rows, guidance), eps(eager, rows, guidance))
    assert graphs.frame_count == 2


def test_a_batch_of_drags_that_shrinks_compiles_nothing_anew(both, graphs):
    """Drags of 1, 2 and 3 cells take as many drag steps, with a LoRA and under guidance."""
    task = build_task("drag", prompt="{caption}", lora_steps=1, r=1)
    examples = [
        replace(tasks.example(f"test-{i:06d}"), drags=(Drag((8, 28), (16 + 8 * i, 28)),))
        for i in range(3)
    ]
    noise, images = Noise(0, tuple(one.id for one in examples)), []
    for model in both:
        own = {"lora": adapters(model, 3)}
        with torch.inference_mode():
            sampler = build("samplers", "sde", {})
            images.append(task.edit(examples, model, sampler, tasks.grid(), noise, own))
    assert torch.equal(*images)
    assert graphs.frame_count == 1
