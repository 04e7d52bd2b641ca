"""Image to image: the mask, what stays outside it, and the encoding that a sweep of t_0 shares."""

import dataclasses

import numpy as np
import pytest
import torch

from sde_edit.datasets.shapes_edits import ShapesEdits
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.errors import UserError
from sde_edit.models.gmm import GMM, Component
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.registry import build
from tests.builders import build_task

IDS = ("test-000000", "test-000001", "test-000002")
GRID = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(10)
INVERTIBLE = ("ode", "ode2", "sde", "sde2", "ef", "bdia", "obelm", "cbdia", "edict", "rex")


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


@pytest.mark.parametrize("sampler", INVERTIBLE)
def test_a_sweep_of_t_0_gives_the_images_of_each_alone(model, sampler):
    tasks = [build_task("diffedit", t_0=t_0, source_guidance=1.0) for t_0 in (0.3, 0.8, 0.5)]
    together, _ = from_one_encoding(tasks, model, sampler)
    for task, images in zip(tasks, together, strict=True):
        alone = edit(task, model, sampler)
        assert (images.int() - alone.int()).abs().max() <= 1  # other batches, float64


def test_tasks_that_go_up_alike_encode_once(model):
    """Under one source prompt and guidance, whatever the task, the target's guidance and t_0."""
    tasks = [
        build_task("roundtrip", source_guidance=1.0, guidance=1.0, t_0=0.2),
        build_task("diffedit", source_guidance=1.0, guidance=7.5, t_0=1.0, mask_level=1.0),
        build_task("p2p", source_guidance=1.0, guidance=3.0, t_0=0.6),
        build_task("null_text", source_guidance=1.0, guidance=3.0, t_0=0.6, null_steps=1),
    ]
    together, up = from_one_encoding(tasks, model, "ode")
    assert up == 3 * GRID.steps
    for task, images in zip(tasks, together, strict=True):
        assert torch.equal(images, edit(task, model, "ode"))


def test_another_way_up_is_another_encoding():
    plain = build_task("roundtrip", source_guidance=1.0).encoding
    assert plain == build_task("p2p", source_guidance=1.0).encoding
    assert plain != build_task("roundtrip", source_guidance=3.0).encoding
    assert plain != build_task("roundtrip", source_guidance=1.0, source_prompt="a b").encoding
    assert build_task("sdedit").encoding is None


def from_one_encoding(tasks, model, sampler):
    """The images of each task, from the way up to the largest t_0, and the rows that it cost."""
    (encoding,) = {task.encoding for task in tasks}
    longest = GRID.truncated(max(task.t_0 for task in tasks))
    (examples, noise), method = given(), build("samplers", sampler, {})
    masks, before = own_masks(examples), model.evaluations
    with torch.inference_mode():
        inversion = encoding(examples, model, method, longest, noise)
        up = model.evaluations - before
        parts = [GRID.truncated(task.t_0) for task in tasks]
        images = [
            task.edit_from(
                inversion.tail(longest.steps - part.steps),
                *(examples, model, method, part, noise, masks),
            )
            for task, part in zip(tasks, parts, strict=True)
        ]
    return images, up


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


def test_sdedit_asks_the_model_for_the_target_prompt_alone():
    """A model of classes does not know a caption, which is what the default source prompt is."""
    parts = tuple(Component(name, mean, 0.5) for name, mean in (("dark", -0.5), ("light", 0.5)))
    model = GMM((3, 64, 64), parts).load("cpu", "float64")
    examples, noise = given(IDS[:1])
    light = [dataclasses.replace(example, target="light") for example in examples]
    task = build_task("sdedit", guidance=1.0)
    edited = task.edit(light, model, build("samplers", "sde", {}), GRID, noise)
    assert edited.shape == (1, 64, 64, 3)
    with pytest.raises(UserError, match=examples[0].caption):
        build_task("roundtrip").edit(light, model, build("samplers", "sde", {}), GRID, noise)
