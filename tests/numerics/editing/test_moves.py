"""The moves of a drag step."""

import itertools
import math

import numpy as np
import torch

from sde_edit.api.example import Drag, Example
from sde_edit.editing.moves import MovePlan, apply_moves
from tests.builders import build_task


def task(**settings):
    return build_task("drag", **settings)


def picture(name, drags, seed=0, mask=None):
    image = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return Example(name, image, caption="red", drags=tuple(drags), mask=mask)


def plan(chosen, example, size=(8, 8), native=None):
    """The moves of every drag step."""
    in_sequence = chosen.pairs == "sequence"
    moves = MovePlan(chosen.r, chosen.m, chosen.m_factor, in_sequence=in_sequence)
    return moves.steps(example, size, native or size)


def squares(chosen, *drags, size=(8, 8), pixels=8, native=None):
    height, width = (pixels * side // size[0] for side in size)
    example = Example("a", np.zeros((height, width, 3), np.uint8), drags=drags)
    return [
        [tuple((s.start, s.stop) for square in move for s in square) for move in step]
        for step in plan(chosen, example, size, native)
    ]


def test_r_and_m_are_the_papers_for_a_latent_of_64_and_in_proportion_for_others():
    drag = Drag((160, 160), (160, 304))
    sd = squares(task(), drag, size=(64, 64), pixels=512)
    assert len(sd) == 9  # 144 pixels, 18 cells, over 2
    assert sd[0] == [((15, 25), (15, 25), (17, 27), (15, 25))]  # rows, columns of S; of T
    small = squares(task(), drag, size=(16, 16), pixels=512)
    assert len(small) == 5  # 4.5 cells, of which a step is one
    assert small[0] == [((4, 6), (4, 6), (5, 7), (4, 6))]
    large = squares(task(), drag, size=(128, 128), pixels=512)
    assert len(large) == 9
    assert large[0] == [((30, 50), (30, 50), (34, 54), (30, 50))]


def test_the_shape_of_a_picture_changes_neither_r_nor_the_steps():
    """A latent of 64 x 43 has cells as large as one of 64 x 64."""
    drag = Drag((160, 160), (160, 304))
    native = (64, 64)
    square = squares(task(), drag, size=(64, 64), pixels=512, native=native)
    assert squares(task(), drag, size=(43, 64), pixels=344, native=native) == square
    assert squares(task(), drag, size=(96, 64), pixels=768, native=native) == square


def test_m_is_rounded_up_and_never_zero():
    assert len(squares(task(m_factor=0.5), Drag((1, 1), (6, 1)))) == 3
    assert len(squares(task(m_factor=0.5), Drag((1, 1), (1, 1)))) == 1
    assert len(squares(task(m_factor=0.5), Drag((1, 1), (5, 4)), Drag((1, 1), (2, 1)))) == 3


def test_pairs_go_together_or_in_sequence():
    drags = (Drag((2, 2), (4, 2)), Drag((6, 6), (6, 5)))
    assert [len(step) for step in squares(task(), *drags)] == [2, 2]
    steps = squares(task(pairs="sequence"), *drags)
    assert [len(step) for step in steps] == [1, 1, 1]
    assert steps[2] == [((5, 7), (5, 7), (4, 6), (5, 7))]


def test_squares_that_leave_the_image_are_cut_off_alike():
    (step,) = squares(task(r=3, m=1), Drag((1, 4), (6, 4)))
    assert step == [((1, 7), (0, 3), (1, 7), (5, 8))]  # one column to the left, two to the right
    (corners,) = squares(task(r=3, m=1), Drag((0, 0), (7.9, 7.9)))
    assert corners == [((0, 1), (0, 1), (7, 8), (7, 8))]


def test_every_pair_reads_before_any_writes():
    """Three squares in a ring change places."""
    x = torch.arange(64.0, dtype=torch.float64).view(1, 1, 8, 8)
    ring = [(2, 2), (6, 2), (6, 6), (2, 2)]
    drags = [Drag(a, b) for a, b in itertools.pairwise(ring)]
    chosen = task(r=1, m=1)
    moves = plan(chosen, picture("a", drags))[0]
    out = apply_moves(x, [moves], torch.full_like(x, math.nan), alpha=2.0, beta=chosen.beta)
    assert torch.equal(out[..., 1:3, 5:7], 2 * x[..., 1:3, 1:3])
    assert torch.equal(out[..., 5:7, 5:7], 2 * x[..., 1:3, 5:7])
    assert torch.equal(out[..., 1:3, 1:3], 2 * x[..., 5:7, 5:7])
    assert out.isfinite().all()  # no source is left that is not a target too


def test_where_squares_overlap_the_target_wins():
    x = torch.arange(64.0, dtype=torch.float64).view(1, 1, 8, 8)
    chosen = task(r=2, m=1)
    moves = plan(chosen, picture("a", [Drag((3, 4), (4, 4))]))[0]
    out = apply_moves(x, [moves], torch.zeros_like(x), alpha=2.0, beta=0.5)
    assert torch.equal(out[..., 2:6, 2:6], 2 * x[..., 2:6, 1:5])
    assert torch.equal(out[..., 2:6, 1], 0.5 * x[..., 2:6, 1])
    out[..., 2:6, 1:6] = x[..., 2:6, 1:6]
    assert torch.equal(out, x)
