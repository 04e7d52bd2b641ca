"""Which token takes which attention map, and what the maps do in the network."""

import random

import pytest
import torch

from sde_edit.diffusion.schedule import Schedule
from sde_edit.networks.attention import (
    Control,
    Reference,
    controlled,
    refinement,
    replacement,
    reweighting,
    selection,
)

GRID = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(4)
SIZE = 8
PAIRS = [("a b c d", "a x c d"), ("q r s", "q r t s u v")]


@pytest.fixture(scope="module")
def model(sharpened_model):
    return sharpened_model


@pytest.fixture(scope="module")
def state(model):
    generator = torch.Generator().manual_seed(0)
    shape = (GRID.steps + 1, len(PAIRS), *model.latent_shape)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def control(model, mode=refinement, *, cross=True, self_positions=0, factors=None, pairs=PAIRS):
    words = [[model.word_tokens(prompt) for prompt in pair] for pair in pairs]
    size = model.prompt_tokens
    scale = [
        reweighting(target.split(), ids, factors or {}, size)
        for (_, target), (_, ids) in zip(pairs, words, strict=True)
    ]
    maps = torch.stack([mode(*both, size) for both in words])
    return Control(maps, torch.stack(scale), cross, self_positions)


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


def published_alignment(before, after):
    """target token -> source token by the published aligner, written plainly: global alignment of
    the framed prompts with gap 0, match 1, mismatch -1; back from the end, left before up."""
    x, y = ["start", *before, "end"], ["start", *after, "end"]
    score = [[0] * (len(y) + 1) for _ in range(len(x) + 1)]
    move = [["left"] * (len(y) + 1)] + [["up"] * (len(y) + 1) for _ in x]
    for i in range(1, len(x) + 1):
        for j in range(1, len(y) + 1):
            left, up = score[i][j - 1], score[i - 1][j]
            diagonal = score[i - 1][j - 1] + (1 if x[i - 1] == y[j - 1] else -1)
            best = score[i][j] = max(left, up, diagonal)
            move[i][j] = "left" if best == left else "up" if best == up else "diagonal"
    i, j, found = len(x), len(y), {}
    while i or j:
        step = move[i][j]
        if step == "diagonal":
            found[j - 1] = i - 1
        i, j = i - (step != "left"), j - (step != "up")
    return {b: found[b] for b in sorted(found)}


def refined(before, after):
    """What `refinement` aligns, without the padding; one token for each word."""
    numbers = {word: [n] for n, word in enumerate(dict.fromkeys([*before, *after]))}
    size = 2 + max(len(before), len(after))
    pairs = columns(refinement([numbers[w] for w in before], [numbers[w] for w in after], size))
    return {j: i for j, i in pairs.items() if j < len(after) + 2 and i < len(before) + 2}


def test_refinement_aligns_as_many_tokens_as_possible():
    """The longest common block, "big" or "square" or "red", may cost others."""
    before, after = ["red", "big", "square"], ["big", "blue", "square", "red"]
    # start red big square end | start big blue square red end
    assert refined(before, after) == {0: 0, 1: 2, 3: 3, 5: 4}
    assert refined(before, after) == published_alignment(before, after)
    assert refined(list("xabcde"), list("aybzcxdwe")) == {0: 0, 1: 2, 3: 3, 5: 4, 7: 5, 9: 6, 10: 7}


def test_refinement_is_the_published_alignment_ties_included():
    words = ["a", "the", "red", "blue", "big", "small", "square", "circle", "on", "and"]
    generator = random.Random(0)
    prompts = [generator.choices(words, k=generator.randrange(13)) for _ in range(600)]
    for before, after in zip(prompts[::2], prompts[1::2], strict=True):
        assert refined(before, after) == published_alignment(before, after), (before, after)


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


def test_selection_by_hand():
    prompt, words = ["Red", "cat,", "red"], [[1], [2, 3], [1]]
    assert selection(prompt, words, ["CAT", "dog"], SIZE).tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert selection(prompt, words, ["red"], 4).tolist() == [0, 1, 0, 0]


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


PROMPT = "a b"


def latent(model, rows=1):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(rows, *model.latent_shape, generator=generator, dtype=torch.float64)


def test_self_attention_of_the_second_half_looks_at_the_first(model):
    """By hand in the layer, its heads one by one; the first half as without reference."""
    layer = model.unet.up_blocks[0].attentions[0].transformer_blocks[0].attn1
    hidden = torch.randn(4, 9, 32, generator=torch.Generator().manual_seed(0)).double()
    with controlled(model.unet, Reference(0)):
        found = layer(hidden)
    torch.testing.assert_close(found[:2], layer(hidden)[:2], rtol=0, atol=1e-12)
    query, key, value = layer.to_q(hidden[2:]), layer.to_k(hidden[:2]), layer.to_v(hidden[:2])
    heads = []
    for q, k, v in zip(*(p.chunk(layer.heads, -1) for p in (query, key, value)), strict=True):
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        heads.append(scores.softmax(-1) @ v)
    expected = layer.to_out[0](torch.cat(heads, -1))
    torch.testing.assert_close(found[2:], expected, rtol=0, atol=1e-12)
    assert (found[2:] - layer(hidden)[2:]).abs().max() > 1e-3


def test_only_the_up_blocks_asked_for_refer(model):
    x, t = latent(model, 2), torch.full((2,), 500.0, dtype=torch.float64)
    text = model.embed([PROMPT] * 2)
    plain, none, every = (model.attend(x, t, text, c) for c in (None, Reference(2), Reference(0)))
    assert torch.equal(plain, none)
    torch.testing.assert_close(every[0], plain[0], rtol=0, atol=1e-12)
    assert (every[1] - plain[1]).abs().max() > 1e-6
    assert referring(model, Reference(0)) == {
        f"up_blocks.0.attentions.{i}.transformer_blocks.0.attn1.processor" for i in (0, 1)
    }


def test_without_a_first_block_every_self_attention_refers(model):
    names = referring(model, Reference())
    assert names == {name for name in model.unet.attn_processors if ".attn1." in name}
    assert {name.partition(".")[0] for name in names} == {"down_blocks", "mid_block", "up_blocks"}


def referring(model, reference):
    """The layers whose keys and values come from the source."""
    with controlled(model.unet, reference):
        return {n for n, p in model.unet.attn_processors.items() if "Ref" in type(p).__name__}


def test_the_cells_of_cross_attention_are_those_of_the_layers(model):
    x, found = latent(model), set()

    class Sizes(Control):
        def concerns(self, cross, positions):
            if cross:
                found.add(round((x.shape[-1] * x.shape[-2] / positions) ** 0.5))
            return False

    both = torch.cat([x, x]), torch.full((2,), 500.0, dtype=torch.float64)
    model.attend(*both, model.embed(PROMPT.split()), Sizes(x, x, cross=False, self_positions=0))
    assert model.cross_attention_cells == found != set()
