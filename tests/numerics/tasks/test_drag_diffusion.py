"""DragDiffusion on a small random pipeline, in float64."""

import dataclasses

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from sde_edit.api.example import Drag
from sde_edit.api.model import LoraSettings
from sde_edit.api.preparation import NOTHING_PREPARED
from sde_edit.cli import main
from sde_edit.datasets.shapes import Shapes
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.diffusion.steps import ddim
from sde_edit.editing.batch import images
from sde_edit.errors import UserError
from sde_edit.networks.attention import Reference
from sde_edit.registry import build
from sde_edit.store.runs import RunStore
from tests.builders import build_task

GRID = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(4)
PROMPT = "a b"
FAR = (Drag((10.0, 20.0), (50.0, 24.0)), Drag((40.0, 50.0), (30.0, 30.0)))
NEAR = (Drag((20.0, 20.0), (24.0, 20.0)),)
THERE = (Drag((20.0, 20.0), (22.0, 20.0)),)  # one pixel of the map


@pytest.fixture(scope="module")
def model(sharpened_model):
    return sharpened_model


def task(**settings):
    return build_task("drag_diffusion", **({"prompt": PROMPT} | settings))


def example(index=0, drags=FAR, mask=None):
    return dataclasses.replace(Shapes().load(f"test-{index:06d}"), drags=drags, mask=mask)


def left_half():
    mask = np.zeros((64, 64), np.float32)
    mask[:, :32] = 1
    return mask


def edited(chosen, model, examples, sampler="ode", prepared=NOTHING_PREPARED):
    """The latents that are decoded, and the evaluations they cost."""
    before, decoded = model.evaluations, []

    def decode(x):
        decoded.append(x)
        return torch.zeros(len(x), 64, 64, 3, dtype=torch.uint8)

    noise = Noise(0, tuple(e.id for e in examples))
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(model, "decode", decode)
        chosen.edit(examples, model, build("samplers", sampler, {}), GRID, noise, prepared)
    return decoded[0], model.evaluations - before


# ------------------------------------------------------------------ the task


@pytest.mark.parametrize("sampler", ["ode", "sde", "ef", "bdia", "obelm", "cbdia", "edict", "rex"])
def test_without_steps_and_reference_it_is_a_round_trip(model, sampler):
    same = {"source_prompt": PROMPT, "prompt": PROMPT, "source_guidance": 1.0, "guidance": 1.0}
    plain = build("tasks", "translate", same | {"t_0": 0.7})
    chosen = task(drag_steps=0, reference_blocks=0)
    x, cost = edited(chosen, model, [example()], sampler)
    torch.testing.assert_close(x, edited(plain, model, [example()], sampler)[0], rtol=0, atol=0)
    if sampler in ("ode", "sde"):
        assert cost == chosen.evaluations_per_image(GRID.steps)


def test_without_steps_decoding_is_ddims_beside_the_sources_path(model):
    """Written plainly; decoding by DDIM strays from the path, so that the reference differs."""
    one, text = example(), model.embed([PROMPT])
    with torch.inference_mode():
        x_0, grid = model.encode(images([one])), GRID.truncated(0.7)
        up = model.denoiser([PROMPT], 1.0)
        source = build("samplers", "ode", {}).encode(up, x_0, grid, Noise(0, (one.id,)))
        x = source.latent
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            both = torch.cat([source.states[i], x])
            t = torch.full((2,), s, dtype=torch.float64)
            e = model.attend(both, t, text.repeat(2, 1, 1), Reference(0))[1:]
            x = ddim(x, e, a_s, a_t)
    found, _ = edited(task(drag_steps=0), model, [one])
    torch.testing.assert_close(found, x, rtol=0, atol=1e-12)
    assert (
        found - edited(task(drag_steps=0, reference_blocks=0), model, [one])[0]
    ).abs().max() > 1e-6


@pytest.mark.parametrize("sampler", ["ode", "ode2", "sde", "sde2", "ef", "bdia", "obelm", "edict"])
def test_a_batch_is_its_examples_whatever_the_sampler(model, sampler):
    batch = [example(0, FAR, left_half()), example(1, NEAR), example(2, THERE)]
    chosen = task(drag_steps=4, t_0=1.0)
    together, _ = edited(chosen, model, batch, sampler)
    alone = torch.cat([edited(chosen, model, [one], sampler)[0] for one in batch])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-7)
    still, _ = edited(task(drag_steps=0, t_0=1.0), model, batch, sampler)
    changed = (together - still).abs().flatten(1).amax(1)
    assert (changed[:2] > 1e-3).all()
    assert changed[2] < 1e-12


def test_the_plan_is_the_most_it_can_cost(model):
    chosen = task(drag_steps=3)
    (_, far), (_, near) = (edited(chosen, model, [example(0, d)]) for d in (FAR, THERE))
    assert far == chosen.evaluations_per_image(GRID.steps) == 3 * 3 + 2 * 3
    assert near == 3 * 3


def test_what_it_cannot_do_is_said(model):
    for settings, key in (
        ({"t_0": 0.0}, "t_0"), ({"drag_steps": -1}, "drag_steps"), ({"lr": 0.0}, "lr"),
        ({"r_m": -1}, "r_m"), ({"r_p": 0}, "r_p"), ({"lam": -0.1}, "lam"),
        ({"block": -1}, "block"), ({"reference_blocks": -1}, "reference_blocks"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=rf"task\.{key}="):
            task(**settings)
    chosen = task(prompt="{caption}")
    chosen.check(example())
    for broken, message in (
        ({"drags": ()}, "nothing to drag"), ({"caption": ""}, "asks for a caption"),
        ({"drags": (Drag((2, 2), (64, 2)),)}, "outside the image of 64x64"),
        ({"mask": np.zeros((64, 64), np.float32)}, "hides nothing"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"test-000000: .*{message}"):
            chosen.check(dataclasses.replace(example(), **broken))
    with pytest.raises(UserError, match=r"task\.block=2: the model has up blocks 0 to 1"):
        task(block=2).check_model(model)
    settings = {"shape": (3, 8, 8), "components": [{"name": "a", "mean": 0.0, "sd": 1.0}]}
    gmm = build("models", "gmm", settings).load("cpu", "float64")
    with pytest.raises(UserError, match="as those of Stable Diffusion"):
        task().check_model(gmm)


def test_each_image_has_its_lora_all_the_way(model):
    """Of two whose LoRAs differ, one drops out of the optimisation: it keeps its own."""
    batch = [example(0, THERE), example(1, FAR)]
    noise = Noise(0, tuple(one.id for one in batch))
    with torch.inference_mode():
        x_0 = model.encode(images(batch))
        fits = model.fit_lora(x_0, [PROMPT] * 2, LoraSettings(2, 0.05, 2), noise)
    chosen = task(drag_steps=2)
    together, _ = edited(chosen, model, batch, prepared={"lora": fits})
    for row, (one, fit) in enumerate(zip(batch, fits, strict=True)):
        alone, _ = edited(chosen, model, [one], prepared={"lora": [fit]})
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-8)
        without, _ = edited(chosen, model, [one])
        assert (alone - without).abs().max() > 1e-4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_from_the_command_line(tmp_path, dtype):
    command = ["run", "task=drag_diffusion", "task.drag_steps=2", "task.lora_steps=1"]
    data = [
        "sampler=ode",
        "steps=10",
        "model=shapes",
        "data=shapes-drags",
        "data.limit=2",
        "metrics=[psnr]",
    ]
    where = [f"paths.results={tmp_path}", f"dtype={dtype}", "hardware.threads=1"]
    outcome = CliRunner().invoke(main, [*command, *data, *where])
    assert outcome.exit_code == 0, outcome.output
    (run,) = RunStore(tmp_path).runs()
    assert [row.evaluations for row in run.rows().values()] == [7 * 3 + 2 * 2] * 2
