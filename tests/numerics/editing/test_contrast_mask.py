"""DiffEdit's mask."""

import pytest
import torch

from sde_edit.datasets.shapes_edits import ShapesEdits
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.models.stable_diffusion import StableDiffusion
from tests.builders import build_task

IDS = ("test-000000", "test-000001", "test-000002")
GRID = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(10)


@pytest.fixture(scope="module")
def model(tiny_model):
    return StableDiffusion(str(tiny_model), 64).load("cpu", "float64")


def given(ids=IDS):
    examples = [ShapesEdits().load(i) for i in ids]
    return examples, Noise(0, tuple(ids))


def find(chosen, model, ids=IDS):
    examples, noise = given(ids)
    with torch.inference_mode():
        return chosen.preparations[0].find(examples, model, GRID, noise)


def diffedit_mask(model, example, noise, maps, guidance):
    """Couairon et al. as diffusers writes them out, for one image: clamp, normalise, threshold."""
    at = GRID.truncated(0.5)
    a, t = at.alpha[0], torch.tensor([at.t[0]], dtype=torch.float64)
    x_0 = model.encode(torch.from_numpy(example.image)[None])
    contrast = []
    for k in range(maps):
        x = a**0.5 * x_0 + (1 - a) ** 0.5 * noise.like(x_0, "mask", k)
        source = model.denoiser([example.caption], guidance)(x, t)
        target = model.denoiser([example.target], guidance)(x, t)
        contrast.append((target - source).abs()[0])
    contrast = torch.stack(contrast).mean(dim=(0, 1))
    limit = 3 * contrast.mean()
    return (contrast.clamp(0, limit) / limit) > 0.5


@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_the_mask_is_diffedits_whatever_the_guidance(model, guidance):
    masks = find(build_task("diffedit"), model)
    assert masks.shape == (3, 8, 8)
    assert 0 < masks.double().mean() < 0.5
    for row, example_id in enumerate(IDS):
        (example,), noise = given([example_id])
        with torch.inference_mode():
            plain = diffedit_mask(model, example, noise, 10, guidance)
        assert torch.equal(masks[row], plain)


@pytest.mark.parametrize(("spacing", "time"), [("linspace", 500), ("leading", 481)])
def test_the_prompts_are_compared_at_half_of_t_of_the_grid(model, spacing, time):
    """The published code asks at 481 of 50 leading times; the default grid has 500."""
    grid = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(50, spacing)
    examples, noise = given(IDS[:1])
    asked = set()

    class Listening:
        def __getattr__(self, name):
            return getattr(model, name)

        def denoiser(self, *prompts):
            eps = model.denoiser(*prompts)

            def heard(x, t):
                asked.update(t.tolist())
                return eps(x, t)

            return heard

    with torch.inference_mode():
        build_task("diffedit").preparations[0].find(examples, Listening(), grid, noise)
    assert asked == {time}


def test_a_mask_is_of_its_own_image_alone(model):
    chosen = build_task("diffedit")
    alone = torch.cat([find(chosen, model, [i]) for i in IDS])
    assert torch.equal(find(chosen, model), alone)


def test_equal_prompts_give_an_empty_mask_and_no_edit(model):
    same = build_task("diffedit", prompt="{caption}")
    assert not find(same, model).any()
