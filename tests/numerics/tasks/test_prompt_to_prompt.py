"""Prompt-to-Prompt and null-text inversion on a small random pipeline, in float64."""

import dataclasses

import pytest
import torch
from transformers import CLIPTokenizer

from sde_edit.config import experiment
from sde_edit.datasets.shapes import Shapes
from sde_edit.diffusion.denoiser import at
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.editing.batch import images
from sde_edit.editing.null_text import NullText, rows_per_step
from sde_edit.errors import UserError
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.networks.attention import Control, refinement, replacement, reweighting
from sde_edit.registry import build

GRID = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(4)
SIZE = 8
PROMPTS = {"source_prompt": "{caption}", "prompt": "{target}"}
PAIRS = [("a b c d", "a x c d"), ("q r s", "q r t s u v")]


@pytest.fixture(scope="module")
def model(tiny_model):
    """Its attention sharpened: that of random weights is nearly even, whatever the prompt."""
    loaded = StableDiffusion(str(tiny_model), 64).load("cpu", "float64")
    for name, weights in loaded.unet.named_parameters():
        if "to_q" in name or "to_k" in name or "to_v" in name or "to_out.0.weight" in name:
            weights.mul_(3)
    return loaded


@pytest.fixture(scope="module")
def state(model):
    generator = torch.Generator().manual_seed(0)
    shape = (GRID.steps + 1, len(PAIRS), *model.latent_shape)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


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


def control(model, mode=refinement, *, cross=True, self_positions=0, factors=None, pairs=PAIRS):
    words = [[model.word_tokens(prompt) for prompt in pair] for pair in pairs]
    size = model.prompt_tokens
    scale = [
        reweighting(target.split(), ids, factors or {}, size)
        for (_, target), (_, ids) in zip(pairs, words, strict=True)
    ]
    maps = torch.stack([mode(*both, size) for both in words])
    return Control(maps, torch.stack(scale), cross, self_positions)


# ------------------------------------------------------------------ which token takes which map


def columns(maps):
    """target token -> source token, of a matrix of zeros and ones."""
    assert set(maps.unique().tolist()) <= {0.0, 1.0}
    return {j: maps[:, j].argmax().item() for j in range(maps.shape[1]) if maps[:, j].any()}


def test_refinement_by_hand():
    # start a b c end | start a x y c end
    maps = refinement([[1], [2], [3]], [[1], [8, 9], [3]], SIZE)
    assert columns(maps) == {0: 0, 1: 1, 4: 3, 5: 4, 6: 5, 7: 6}


def test_refinement_of_a_shorter_prompt_lends_no_padding_a_word():
    # start a b c end | start c end
    maps = refinement([[1], [2], [3]], [[3]], SIZE)
    assert columns(maps) == {0: 0, 1: 3, 2: 4, 3: 5, 4: 6, 5: 7}


def test_replacement_by_hand():
    # start a (b b') c end | start x (y y' y'') c end
    maps = replacement([[1], [2, 3], [4]], [[5], [6, 7, 8], [4]], SIZE)
    expected = torch.zeros(SIZE, SIZE)
    expected[0, 0] = expected[1, 1] = expected[4, 5] = expected[5, 6] = expected[6, 7] = 1
    expected[2:4, 2:5] = 1 / 3
    assert torch.equal(maps, expected)


@pytest.mark.parametrize("align", [refinement, replacement])
def test_one_prompt_is_its_own_alignment_even_if_it_is_too_long(align):
    for words in ([[1], [2, 3]], [[1, 2, 3], [1, 5, 6, 7, 8]], []):
        assert torch.equal(align(words, words, SIZE), torch.eye(SIZE))


def test_reweighting_by_hand():
    prompt, words = ["Red", "cat,", "red"], [[1], [2, 3], [1]]
    scale = reweighting(prompt, words, {"red": 2.0, "Cat": -1.0}, SIZE)
    assert scale.tolist() == [1, 2, -1, -1, 2, 1, 1, 1]
    assert reweighting(prompt, words, {"red": 2.0}, 4).tolist() == [1, 2, 1, 1]


def test_words_have_the_tokens_of_the_whole_prompt(tiny_model, model):
    prompt = "it's a  Red cat, no 12!"
    whole = CLIPTokenizer.from_pretrained(tiny_model / "tokenizer", model_max_length=77)(prompt)
    assert [i for word in model.word_tokens(prompt) for i in word] == whole.input_ids[1:-1]


# ------------------------------------------------------------------ maps


def test_the_targets_maps_by_hand():
    """Two examples of two tokens: one takes the source's maps turned round, one its second alone;
    the second token of the target is doubled in the first example."""
    maps = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]])
    scale = torch.tensor([[1.0, 2.0], [1.0, 1.0]])
    given = torch.rand(6, 3, 5, 2, generator=torch.Generator().manual_seed(0))
    source, null, target = given.chunk(3)
    out = Control(maps, scale, True, 0).edited(given, True)
    assert torch.equal(out[:4], torch.cat([source, null]))
    assert torch.equal(out[4], source[0].flip(-1) * scale[0])
    assert torch.equal(out[5], torch.stack([target[1, ..., 0], source[1, ..., 1]], -1))
    assert torch.equal(Control(maps, scale, False, 9).edited(given, False)[4:], source)


def test_reweighting_scales_the_columns_of_its_words_alone(model):
    given = torch.rand(4, 2, 3, model.prompt_tokens, generator=torch.Generator().manual_seed(0))
    plain, scaled = (
        control(model, factors=factors).edited(given, True)[2:] for factors in ({}, {"t": 3.0})
    )
    column = 3  # start q r t
    assert torch.equal(scaled[1, ..., column], 3 * plain[1, ..., column])
    plain[1, ..., column] = scaled[1, ..., column]
    assert torch.equal(scaled, plain)


def test_a_control_that_takes_all_gives_the_target_the_sources_maps(model, state):
    """Of one prompt: its eps at the source's state is the source's, elsewhere not its own; the
    rows in between are as without control."""
    same = [(before, before) for before, _ in PAIRS]
    every = control(model, self_positions=64, pairs=same)
    text = model.embed([before for before, _ in same])
    t = torch.full((6,), 500.0, dtype=torch.float64)
    x, other = state[0], state[1]
    at_home = model.attend(torch.cat([x, other, x]), t, text.repeat(3, 1, 1), every).chunk(3)
    torch.testing.assert_close(at_home[2], at_home[0], rtol=1e-12, atol=1e-12)
    away = model.attend(torch.cat([x, other, other]), t, text.repeat(3, 1, 1), every).chunk(3)
    plain = model.denoiser([before for before, _ in same], 1.0)(other, t[:2])
    torch.testing.assert_close(away[1], plain, rtol=1e-12, atol=1e-12)
    assert (away[2] - plain).abs().max() > 1e-3


def test_cross_attention_without_its_own_maps_forgets_the_order_of_words(model, state):
    """Maps decide where, values decide what: another prompt under all of the source's maps is
    neither the source nor the target."""
    before, after = "a b c d", "a b x d"
    text = torch.cat([model.embed([before]), model.embed([after])])
    rows, t = state[0][:1].repeat(2, 1, 1, 1), torch.full((2,), 500.0, dtype=torch.float64)
    swap = control(model, replacement, pairs=[(before, after)])
    source, mixed = model.attend(rows, t, text, swap)
    _, target = model.attend(rows, t, text)
    assert (mixed - source).abs().max() > 1e-4
    assert (mixed - target).abs().max() > 1e-4


def test_the_layers_are_as_before_after_a_call_that_fails(model, state):
    before = model.unet.attn_processors
    with pytest.raises(RuntimeError):
        model.attend(state[0], torch.zeros(3), model.embed(["a"]), control(model))
    assert model.unet.attn_processors == before


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


# ------------------------------------------------------------------ null-text


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


def test_null_text_leaves_no_gradients_behind(model):
    edited(task(null_steps=2, source_guidance=1.0), model, examples())
    assert all(weights.grad is None for weights in model.unet.parameters())
