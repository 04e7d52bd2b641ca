"""Prompt-to-Prompt on a small random pipeline, in float64."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

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


@pytest.mark.parametrize("sampler", ["ode", "sde", "ef", "edict", "bdia", "obelm", "cbdia", "rex"])
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
                x = at(eps, x, t + 0.5)
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
    with pytest.raises(UserError, match="as those of Stable Diffusion"):
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


# ------------------------------------------------------------------ local blend


class PublishedAttention:
    """Attention head by head, for rows of source, null and target; keeps the maps as they are used.
    mapper, alphas [J]: the source's token for each of the target's, and whether there is one."""

    def __init__(self, mapper, alphas, positions):
        self.mapper, self.alphas, self.positions = mapper, alphas, positions
        self.replaces, self.store = True, []

    def processor(self, layer, plain):
        return self

    def __call__(self, attn, hidden, encoder_hidden_states=None, attention_mask=None):
        cross = encoder_hidden_states is not None
        seen = encoder_hidden_states if cross else hidden
        parts = (attn.to_q(hidden), attn.to_k(seen), attn.to_v(seen))
        out = []
        for q, k, v in zip(*(part.chunk(attn.heads, -1) for part in parts), strict=True):
            maps = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
            if cross and self.replaces:
                maps[2] = maps[0][:, self.mapper] * self.alphas + maps[2] * (1 - self.alphas)
            if cross and maps.shape[1] == self.positions:
                self.store.append(maps[[0, 2]])
            out.append(maps @ v)
        return attn.to_out[0](torch.cat(out, -1))


def published_blend(x, source, store, words, threshold):
    """LocalBlend on latents [1, C, H, W]; words [2, K]: 1 at the words' tokens in both prompts."""
    side = int(store[0].shape[1] ** 0.5)
    maps = torch.stack(store, 1)[:, :, None]  # of all steps, layers and heads
    maps = (maps.unflatten(3, (side, side)) * words[:, None, None, None, None]).sum(-1).mean(1)
    maps = F.max_pool2d(maps, (3, 3), (1, 1), padding=(1, 1))
    mask = F.interpolate(maps, size=x.shape[2:])
    mask = mask / mask.max(2, keepdims=True)[0].max(3, keepdims=True)[0]
    mask = mask.gt(threshold)
    mask = (mask[:1] + mask[1:]).to(x)
    return source + mask * (x - source), mask.mean().item()


@pytest.mark.parametrize(
    ("words", "tokens"),
    [("x", [[], [2]]), ("B, x", [[2], [2]]), ("a d", [[1, 4], [1, 4]])],
)
@pytest.mark.parametrize("cross", [0.5, 0.0])
def test_local_blend_is_the_published_one(model, words, tokens, cross, monkeypatch):
    (example,) = examples([("a b c d", "a x c d")])
    steps, threshold, guidance, size = GRID.steps, 0.98, 3.0, model.prompt_tokens
    x = model.encode(images([example]))
    path = build("samplers", "ode", {}).encode(
        model.denoiser([example.caption], 3.0), x, GRID, Noise(0, (example.id,))
    )
    alphas = torch.ones(size, dtype=torch.float64)
    alphas[2] = 0
    attention = PublishedAttention(torch.arange(size), alphas, positions=16)
    chosen = torch.zeros(2, size, dtype=torch.float64)
    for side, found in zip(chosen, tokens, strict=True):
        side[found] = 1
    text, shares = model.embed([example.caption, "", example.target]), []
    x = path.latent
    for i, (t, a_s, a_t) in enumerate(GRID.intervals()):
        attention.replaces = i < cross * steps
        times = torch.full((3,), t, dtype=torch.float64)
        with torch.inference_mode():
            e = model.attend(torch.cat([path.states[i], x, x]), times, text, attention)
        e = e[1:2] + guidance * (e[2:] - e[1:2])
        x = (a_t / a_s) ** 0.5 * (x - (1 - a_s) ** 0.5 * e) + (1 - a_t) ** 0.5 * e
        if i + 1 > 0.25 * steps:
            x, share = published_blend(x, path.states[i + 1], attention.store, chosen, threshold)
            shares.append(share)
    assert len(shares) == 3
    assert 0 < min(shares) < 1, shares
    p2p = task(
        blend_words=words, blend_threshold=threshold, blend_start=0.25, blend_cells=2,
        cross_replace=cross, self_replace=0.0,
    )  # fmt: skip
    monkeypatch.setattr(model, "decode", lambda x: x)
    torch.testing.assert_close(edited(p2p, model, [example]), x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("sampler", ["ode", "sde", "ef", "edict", "bdia", "obelm", "cbdia", "rex"])
def test_local_blend_of_a_batch_is_that_of_its_examples(model, sampler):
    p2p = task(blend_words="x t", blend_threshold=0.8, blend_start=0.0, blend_cells=2)
    batch, before = examples([("a b c d", "a x c d"), ("q r s", "q r t s")]), model.evaluations
    together = edited(p2p, model, batch, sampler)
    if sampler == "ode":
        assert model.evaluations - before == 2 * p2p.evaluations_per_image(GRID.steps)
    assert torch.equal(together, torch.cat([edited(p2p, model, [e], sampler) for e in batch]))
    assert not torch.equal(together, edited(task(), model, batch, sampler))


def test_words_of_the_example_are_blended_and_one_without_any_is_free(model):
    settings = {"blend_threshold": 0.8, "blend_start": 0.0, "blend_cells": 2}
    a, b = examples()
    own = task(blend_words="{words}", **settings)
    both = edited(own, model, [dataclasses.replace(a, words="x B"), b])
    assert torch.equal(both[:1], edited(task(blend_words="b x", **settings), model, [a]))
    assert torch.equal(both[1:], edited(task(), model, [b]))
    assert not torch.equal(both[:1], edited(task(), model, [a]))
    own.check(b)
    assert own.without_effect(dataclasses.replace(a, words="zebra x")) == []
    with pytest.raises(UserError, match=r"none is in the prompts"):
        own.check(dataclasses.replace(a, words="zebra"))


def test_where_no_word_is_seen_every_bit_of_the_source_stays(model, monkeypatch):
    """Cycle-SDE's source, which is the encoded image. The threshold leaves a place or two."""
    monkeypatch.setattr(model, "decode", lambda x: x)
    batch, x = examples(), model.encode(images(examples()))
    settings = {"blend_words": "x t", "blend_threshold": 0.999, "blend_start": 0.0}
    blended = edited(task(**settings, blend_cells=2), model, batch, "sde")
    assert 0.3 < (blended == x).float().mean() < 1
    assert (edited(task(), model, batch, "sde") == x).float().mean() < 0.1


def test_what_local_blend_cannot_do_is_said(model):
    (example,) = examples([("a b", "a x")])
    with pytest.raises(UserError, match=rf"{example.id}: task\.blend_words='q r': none .* 'a b'"):
        task(blend_words="q r").check(example)
    p2p = task(blend_words="X, q")
    p2p.check(example)
    assert p2p.without_effect(example) == ["task.blend_words: no prompt has the word 'q'"]
    with pytest.raises(UserError, match=r"task\.blend_cells=4: .* on a side: give 2"):
        task(blend_words="x").check_model(model)
    late = task(blend_words="a", blend_start=0.9)
    with pytest.raises(UserError, match=r"task\.blend_start=0\.9 leaves none of 4 steps"):
        late.evaluations_per_image(4)
    assert late.evaluations_per_image(10)
    for settings, message in (
        ({"blend_start": 0.1}, r"task\.blend_start=0\.1 has no effect without task\.blend_words"),
        ({"blend_words": "a", "blend_threshold": 1.0}, r"task\.blend_threshold=1\.0"),
        ({"blend_words": "a", "blend_start": -0.1}, r"task\.blend_start=-0\.1"),
        ({"blend_words": "a", "blend_cells": 0}, r"task\.blend_cells=0"),
    ):
        with pytest.raises(UserError, match=message):
            task(**settings)


def test_with_the_source_prompt_as_null_text_no_guidance_moves_the_source(model):
    """Negative-prompt inversion: both halves of guidance are one."""
    settings = {"prompt": "{caption}", "source_guidance": 1.0, "cross_replace": 0.0}
    batch, same = examples(), {**settings, "self_replace": 0.0}
    plain = edited(task(**same, guidance=1.0), model, batch)
    fixed = edited(task(**same, guidance=7.5, negative_prompt="{caption}"), model, batch)
    assert (fixed.int() - plain.int()).abs().max() <= 1
    free = edited(task(**same, guidance=7.5), model, batch)
    assert (free.int() - plain.int()).abs().max() > 1


def test_maps_of_self_attention_that_are_all_too_large_are_said(model):
    """The tiny pipeline attends at 4x4."""
    task(self_replace=0.4, self_max_side=4).check_model(model)
    task(self_replace=0.0, self_max_side=3).check_model(model)
    with pytest.raises(UserError, match=r"task\.self_max_side=3: .* 4 x 4 .*: give 4 or more"):
        task(self_replace=0.4, self_max_side=3).check_model(model)


def test_null_text_leaves_no_gradients_behind(model):
    edited(task(null_steps=2, source_guidance=1.0), model, examples())
    assert all(weights.grad is None for weights in model.unet.parameters())
