"""Image to image: the mask, what stays outside it, and the encoding that a sweep of t_0 shares."""

import dataclasses

import numpy as np
import pytest
import torch

from sde_edit.datasets.shapes_edits import ShapesEdits
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.errors import UserError
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.registry import build
from tests.builders import build_task

IDS = ("test-000000", "test-000001", "test-000002")
GRID = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(10)
INVERTIBLE = ("ode", "ode2", "sde", "sde2", "ef", "bdia", "obelm", "cbdia", "edict", "rex")
SAMPLERS = [("diffedit", s) for s in INVERTIBLE] + [("sdedit", s) for s in ("ode", "sde", "plms")]


@pytest.fixture(scope="module")
def model(tiny_model):
    return StableDiffusion(str(tiny_model), 64).load("cpu", "float64")


def given(ids=IDS):
    examples = [ShapesEdits().load(i) for i in ids]
    return examples, Noise(0, tuple(ids))


def own_masks(examples):
    """The masks of the data set, in place of those that DiffEdit would find."""
    return {"masks": [example.mask for example in examples]}


def edit(chosen, model, sampler, ids=IDS):
    examples, noise = given(ids)
    method, masks = build("samplers", sampler, {}), own_masks(examples)
    with torch.inference_mode():
        return chosen.edit(examples, model, method, GRID, noise, masks)


# ------------------------------------------------------------------ t_0


@pytest.mark.parametrize(("name", "sampler"), SAMPLERS)
def test_a_sweep_of_t_0_gives_the_images_of_each_alone(model, name, sampler):
    values = [0.3, 0.8, 0.5]
    examples, noise = given()
    method = build("samplers", sampler, {})
    with torch.inference_mode():
        given_to_all = examples, model, method, GRID, noise, own_masks(examples)
        shared = build_task(name).edit_many(values, *given_to_all)
        together = [one() for one in shared]
    for t_0, images in zip(values, together, strict=True):
        alone = edit(build_task(name, t_0=t_0), model, sampler)
        assert (images.int() - alone.int()).abs().max() <= 1  # other batches, float64


def test_a_sweep_encodes_once(model):
    values, examples, noise = [0.2, 0.6, 1.0], *given()
    with torch.inference_mode():
        before = model.evaluations
        ode = build("samplers", "ode", {})
        shared = build_task("roundtrip").edit_many(values, examples, model, ode, GRID, noise)
        up = model.evaluations - before
        for one in shared:
            one()
    assert up == 3 * 2 * GRID.steps
    assert model.evaluations - before == up + 3 * 2 * (2 + 6 + 10)


# ------------------------------------------------------------------ the region


def test_outside_the_mask_the_source_comes_back(model):
    """A mask of the left half; looked at in the latent, as the autoencoder sees further."""
    left = np.zeros((64, 64), np.float32)
    left[:, :32] = 1
    examples, noise = given()
    examples = [dataclasses.replace(example, mask=left) for example in examples]
    decoded = []
    masked = build_task("diffedit", region="mask", t_0=0.5)
    for sampler in ("ode", "sde", "bdia", "edict"):
        with torch.inference_mode():
            x_0 = model.encode(torch.stack([torch.from_numpy(e.image) for e in examples]))
            spy = Spy(model, decoded)
            masked.edit(examples, spy, build("samplers", sampler, {}), GRID, noise)
        x = decoded.pop()
        torch.testing.assert_close(x[..., 4:], x_0[..., 4:], rtol=0, atol=1e-11)
        assert (x[..., :4] - x_0[..., :4]).abs().max() > 1e-3


class Spy:
    """A model that tells what it is to decode."""

    def __init__(self, model, seen):
        self.encode, self.denoiser = model.encode, model.denoiser
        self._model, self._seen = model, seen

    def decode(self, x):
        self._seen.append(x)
        return self._model.decode(x)


# ------------------------------------------------------------------ encoding, prompts


def test_sdedit_adds_noise_and_decodes(model):
    examples, noise = given()
    part = GRID.truncated(0.5)
    with torch.inference_mode():
        x = model.encode(torch.stack([torch.from_numpy(e.image) for e in examples]))
        for t, (_, a_t, a_s) in zip(part.t[::-1], part.reversed().intervals(), strict=False):
            w = noise.like(x, "forward", int(t))
            x = (a_s / a_t) ** 0.5 * x + (1 - a_s / a_t) ** 0.5 * w
        eps = model.denoiser([example.target for example in examples], 7.5)
        plain = model.decode(build("samplers", "sde", {}).decode(eps, x, part, noise))
    assert torch.equal(edit(build_task("sdedit"), model, "sde"), plain)


def test_sdedit_takes_samplers_without_inversion():
    assert not build_task("sdedit").inverts
    assert build_task("cyclediffusion").inverts


def test_the_negative_prompt_may_be_the_caption(model):
    """The published code's choice for its ODE arm."""
    own = edit(build_task("diffedit", region="all", negative_prompt="{caption}"), model, "ode")
    assert not torch.equal(own, edit(build_task("diffedit", region="all"), model, "ode"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"t_0": 0.0}, "t_0=0.0"),
        ({"mask_t": 1.5}, "mask_t=1.5"),
        ({"mask_maps": 0}, "mask_maps=0"),
        ({"mask_level": 0.0}, "mask_level=0.0"),
        ({"way_up": "jump"}, "way_up"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        build_task("diffedit", **settings)


def test_check_names_what_is_missing():
    (example,), _ = given(IDS[:1])
    bare = dataclasses.replace(example, caption="")
    with pytest.raises(UserError, match=r"test-000000: task\.source_prompt"):
        build_task("diffedit").check(bare)
    build_task("sdedit").check(bare)  # it encodes without a prompt
    with pytest.raises(UserError, match="test-000000: the task needs a mask"):
        build_task("diffedit", region="mask").check(dataclasses.replace(example, mask=None))
