"""RegionDrag on a small random pipeline, in float64."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from sde_edit.api.example import Drag
from sde_edit.cli import main
from sde_edit.datasets.shapes import Shapes
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.editing.batch import images
from sde_edit.errors import UserError
from sde_edit.registry import build
from sde_edit.store.runs import RunStore
from tests.builders import build_task

GRID = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(8)
PROMPT = "a b"
ORDERS = ("encode_then_copy", "copy_then_encode")
# In cells of 8 pixels: T of the second pair covers part of that of the first, whose T covers part
# of S of the second.
PAIRS = (Drag((16.0, 24.0), (40.0, 32.0)), Drag((32.0, 40.0), (40.0, 24.0)))
SQUARES = (((2, 4), (1, 3)), ((3, 5), (4, 6))), (((4, 6), (3, 5)), ((2, 4), (4, 6)))
STILL = (Drag((20.0, 20.0), (20.0, 20.0)),)


@pytest.fixture(scope="module")
def model(sharpened_model):
    return sharpened_model


def task(**settings):
    chosen = {"prompt": PROMPT, "t_0": 0.75, "t_end": 0.375, "r": 1} | settings
    return build_task("region_drag", **chosen)


def example(index=0, drags=PAIRS, mask=None):
    return dataclasses.replace(Shapes().load(f"test-{index:06d}"), drags=drags, mask=mask)


def left_half():
    mask = np.zeros((64, 64), np.float32)
    mask[:, :32] = 1
    return mask


def edited(chosen, model, examples, sampler="sde"):
    """The latents that are decoded, and the evaluations they cost."""
    before, decoded = model.evaluations, []

    def decode(x):
        decoded.append(x)
        return torch.zeros(len(x), 64, 64, 3, dtype=torch.uint8)

    noise = Noise(0, tuple(e.id for e in examples))
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(model, "decode", decode)
        chosen.edit(examples, model, build("samplers", sampler, {}), GRID, noise)
    return decoded[0], model.evaluations - before


def latents(model, *examples):
    with torch.inference_mode():
        return model.encode(images(examples))


# ------------------------------------------------------------------ the published rule, plainly


def attend(model, x, t, memory=()):
    """eps, and the keys and values of self-attention in the order of the layers; those of `memory`
    take their place."""
    seen, given = [], iter(memory)

    def hook(module, inputs, output):
        seen.append(output)
        return next(given) if memory else None

    layers = [m for n, m in model.unet.named_modules() if re.search(r"attn1\.to_[kv]$", n)]
    hooks = [layer.register_forward_hook(hook) for layer in layers]
    e = model.attend(x, torch.full((1,), t, dtype=torch.float64), model.embed([PROMPT]))
    for one in hooks:
        one.remove()
    assert len(seen) == len(layers) > 2
    return e, seen


def step(x, e, a_s, a_t, eta):
    """The mean and the sigma of a step down."""
    sigma = eta * ((1 - a_t) / (1 - a_s)) ** 0.5 * (1 - a_s / a_t) ** 0.5
    x_0 = (x - (1 - a_s) ** 0.5 * e) / a_s**0.5
    return a_t**0.5 * x_0 + (1 - a_t - sigma**2) ** 0.5 * e, sigma


def copied_over(target, source, scale=1, same_place=False):
    for square in SQUARES:
        (s_rows, s_columns), (t_rows, t_columns) = (
            [slice(scale * low, scale * high) for low, high in part] for part in square
        )
        content = source[..., t_rows, t_columns] if same_place else source[..., s_rows, s_columns]
        target[..., t_rows, t_columns] = content
    return target


def plainly(model, one, sampler, order, noise_scale, inside):
    """What the published code does, on this project's grid, for one image."""
    grid, noise, eta = GRID.truncated(0.75), Noise(0, (one.id,)), float(sampler == "sde")
    image = images([one]).movedim(-1, 1)
    preview = copied_over(image.clone(), image, scale=8)

    def path(pixels):
        encode = build("samplers", sampler, {}).encode
        x_0 = model.encode(pixels.movedim(1, -1))
        return encode(model.denoiser([PROMPT], 1.0), x_0, grid, noise).states

    source = path(image)
    hooked = source if order == "encode_then_copy" else path(preview)
    x = source[0].clone()
    fresh, mixed = noise.like(x, "source"), torch.zeros_like(x, dtype=torch.bool)
    for (rows, columns), _ in SQUARES:
        mixed[..., slice(*rows), slice(*columns)] = True
    noised = (1 - noise_scale**2) ** 0.5 * x + noise_scale * fresh
    x = torch.where(mixed, noised, x)
    for i, (t, a_s, a_t) in enumerate(grid.intervals()):
        e, memory = attend(model, source[i], t)
        if i <= 3:  # 6 steps from t_0, 3 from t_end
            x = copied_over(x, hooked[i], same_place=order == "copy_then_encode")
        x = torch.where(inside, x, source[i])
        mean, sigma = step(source[i], e, a_s, a_t, eta)
        w = (source[i + 1] - mean) / sigma if eta else 0.0
        mean, sigma = step(x, attend(model, x, t, memory)[0], a_s, a_t, eta)
        x = mean + sigma * w
    return torch.where(inside, x, source[-1])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("noise_scale", [1.0, 0.6])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sampler", ["sde", "ode"])
def test_it_is_the_published_rule(model, sampler, order, noise_scale, masked):
    one = example(mask=left_half() if masked else None)
    inside = torch.ones(8, 8, dtype=torch.bool)
    inside[:, 4:] = not masked
    with torch.inference_mode():
        expected = plainly(model, one, sampler, order, noise_scale, inside)
    found, _ = edited(task(order=order, noise_scale=noise_scale), model, [one], sampler)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert (found - latents(model, one)).abs().max() > 0.1


# ------------------------------------------------------------------ the task


@pytest.mark.parametrize("order", ORDERS)
def test_a_drag_of_no_distance_returns_the_source(model, order):
    """Its keys and values are its own, and the noise is covered at once."""
    one = example(drags=STILL)
    found, _ = edited(task(order=order), model, [one])
    torch.testing.assert_close(found, latents(model, one), rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sampler", ["sde", "ode"])
def test_the_outside_of_a_mask_keeps_every_bit(model, sampler, order):
    one = example(mask=left_half())
    found, _ = edited(task(order=order), model, [one], sampler)
    change = (found - latents(model, one)).abs()
    assert change[..., 4:].max() == 0
    assert change[..., :4].max() > 0.1


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sampler", ["ode", "ode2", "sde", "sde2", "bdia", "edict"])
def test_a_batch_is_its_examples_whatever_the_sampler(model, sampler, order):
    batch = [example(0, mask=left_half()), example(1), example(2, STILL)]
    together, _ = edited(task(order=order), model, batch, sampler)
    alone = torch.cat([edited(task(order=order), model, [one], sampler)[0] for one in batch])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("order", "each"), [("encode_then_copy", 3), ("copy_then_encode", 4)])
@pytest.mark.parametrize("sampler", ["sde", "ode"])
def test_it_costs_what_it_announces(model, sampler, order, each):
    chosen, batch = task(order=order), [example(0), example(1)]
    _, cost = edited(chosen, model, batch, sampler)
    assert cost == 2 * chosen.evaluations_per_image(GRID.steps) == 2 * 6 * each


@pytest.mark.parametrize("sampler", ["sde", "ode"])
@pytest.mark.parametrize(
    "setting", [{"t_0": 0.5}, {"t_end": 0.5}, {"r": 2}, {"noise_scale": 0.6}, {"order": ORDERS[1]}]
)
def test_every_setting_acts(model, setting, sampler):
    default, other = (edited(task(**own), model, [example()], sampler)[0] for own in ({}, setting))
    assert (default - other).abs().max() > 1e-3


def test_a_square_in_pixels_is_moved_by_pixels(model):
    """Copying in the image keeps the part of a drag below a cell, which copies of cells lose."""
    one, other = (example(drags=(Drag((24.0, 24.0), (x, 40.0)),)) for x in (40.0, 41.0))
    for order, differs in zip(ORDERS, (False, True), strict=True):
        found = [edited(task(order=order), model, [each])[0] for each in (one, other)]
        assert torch.equal(*found) != differs


def test_what_it_cannot_do_is_said(model):
    for settings, key in (
        ({"t_0": 0.0}, "t_0"), ({"t_end": 0.0}, "t_end"), ({"t_end": 0.8}, "t_end"),
        ({"r": 0}, "r"), ({"noise_scale": -0.1}, "noise_scale"),
        ({"noise_scale": 1.2}, "noise_scale"),
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
    settings = {"shape": (3, 8, 8), "components": [{"name": "a", "mean": 0.0, "sd": 1.0}]}
    gmm = build("models", "gmm", settings).load("cpu", "float64")
    with pytest.raises(UserError, match=r"task=region_drag needs .*Stable Diffusion"):
        task().check_model(gmm)


def test_a_run_from_the_command_line(tmp_path, caplog):
    command = ["run", "task=region_drag", "task.order=copy_then_encode", "sampler=ode"]
    data = ["steps=4", "model=shapes", "data=shapes-drags", "data.limit=2", "metrics=[psnr]"]
    where = [f"paths.results={tmp_path}", "dtype=float32", "hardware.threads=1"]
    outcome = CliRunner().invoke(main, [*command, *data, *where])
    assert outcome.exit_code == 0, outcome.output
    assert "about 16 network evaluations; task.r=1: the model's latents are 16x16" in caplog.text
    (run,) = RunStore(tmp_path).runs()
    assert [row.evaluations for row in run.rows().values()] == [2 * 4] * 2
