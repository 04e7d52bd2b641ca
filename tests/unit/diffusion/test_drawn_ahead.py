"""Noise for a GPU is drawn a step ahead."""

import threading

import pytest
import torch

from sde_edit.diffusion.noise import DrawnAhead, Noise


@pytest.mark.parametrize("steps", [range(6), range(900, 0, -100), [3, 4, 9, 9, 2, 1], [5]])
def test_noise_drawn_ahead_is_that_of_the_step(steps):
    noise, ahead = Noise(3, ("a", "b")), DrawnAhead()
    shape = (2, 4, 4)

    def draw(step):
        return noise._draw("decode", shape, step)

    for step in steps:
        expected = noise.like(torch.empty(2, *shape), "decode", step)
        assert torch.equal(ahead(draw, "decode", step), expected)


def test_from_the_third_step_on_another_thread_has_drawn():
    """Two series in turn: each is ahead of its own steps."""
    ahead, drawn = DrawnAhead(), {}

    def drawer(series):
        def draw(step):
            drawn[series, step] = threading.current_thread()
            return torch.tensor(step)

        return draw

    for step in range(4):
        for series, stride in (("up", 10), ("down", -1)):
            assert ahead(drawer(series), series, stride * step) == stride * step
    here = threading.current_thread()
    for series, stride in (("up", 10), ("down", -1)):
        assert [drawn[series, stride * step] is here for step in range(4)] == [1, 1, 0, 0]


def test_a_part_of_the_noise_is_drawn_ahead_of_its_own_steps():
    noise = Noise(0, ("a", "b"))
    assert noise.of([1])._ahead is not noise._ahead
    assert noise.within("drag 0")._ahead is not noise._ahead


def test_what_fails_in_the_thread_fails_at_its_step():
    def draw(step):
        if step == 2:
            raise MemoryError("step 2")
        return torch.tensor(step)

    ahead = DrawnAhead()
    assert [int(ahead(draw, "s", step)) for step in (0, 1)] == [0, 1]
    with pytest.raises(MemoryError, match="step 2"):
        ahead(draw, "s", 2)
