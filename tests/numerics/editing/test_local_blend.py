"""Local blend by hand: on latents that are not square, before it acts, and with one side unseen."""

import torch

from sde_edit.editing.local_blend import LocalBlend, map_size
from sde_edit.networks.attention import WordMaps

PATH = torch.zeros(5, 2, 1, 8, 10)  # of 4 steps, for two examples of 8 x 10 cells
X = torch.ones(2, 1, 8, 10)


def blend(threshold=0.5, start=1):
    """The source of the first example has its word at (row, column) = (1, 2) of 4 x 5 positions,
    the target of the second at (3, 0), and half as clearly at (0, 4)."""
    seen = torch.zeros(2, 2, 4, 5)
    seen[0, 0, 1, 2] = 3.0
    seen[1, 1, 3, 0], seen[1, 1, 0, 4] = 1.0, 0.5
    maps = WordMaps(20, torch.ones(2, 2, 6), seen.flatten(2))
    return LocalBlend(maps, PATH, cells=2, threshold=threshold, start=start)


def rectangle(rows, columns):
    inside = torch.zeros(1, 8, 10)
    inside[:, rows, columns] = 1
    return inside


def test_the_edit_stays_three_positions_wide_about_each_word():
    out = blend()(X, 2)
    assert torch.equal(out[0], rectangle(slice(0, 6), slice(2, 8)))
    assert torch.equal(out[1], rectangle(slice(4, 8), slice(0, 4)))
    lower = blend(threshold=0.4)(X, 2)
    assert torch.equal(lower[0], out[0])
    assert torch.equal(lower[1], out[1] + rectangle(slice(0, 4), slice(6, 10)))


def test_an_example_without_words_is_free_everywhere():
    own = blend()
    own.seen.tokens_2BK[:, 1] = 0
    out = own(X, 2)
    assert torch.equal(out[1], X[1])
    assert torch.equal(out[0], blend()(X, 2)[0])


def test_the_first_steps_are_left_alone():
    assert torch.equal(blend(start=2)(X, 2), X)
    assert not torch.equal(blend(start=2)(X, 3), X)


def test_a_state_before_the_network_is_asked_stays():
    unasked = LocalBlend(WordMaps(20, torch.zeros(2, 2, 6)), PATH, 2, 0.5, 0)
    assert torch.equal(unasked(X, 1), X)


def test_a_position_at_the_edge_counts_whole():
    """Networks round up where they halve an odd side."""
    assert map_size(torch.zeros(1, 64, 80), 4) == (16, 20)
    assert map_size(torch.zeros(1, 9, 12), 2) == (5, 6)


def test_maps_are_summed_over_calls_heads_and_the_chosen_tokens_of_first_and_last_rows():
    tokens = torch.tensor([[[0.0, 1.0, 0.0]], [[1.0, 0.0, 1.0]]])  # of source, of target
    seen = WordMaps(2, tokens)
    maps = torch.arange(36.0).view(3, 2, 2, 3)  # rows, heads, positions, tokens
    seen.add(maps)
    seen.add(maps)
    source = 2 * maps[0, ..., 1].sum(0)
    target = 2 * (maps[2, ..., 0] + maps[2, ..., 2]).sum(0)
    assert torch.equal(seen.sum_2BP, torch.stack([source, target])[:, None])
