"""Batches of images of one size."""

import pytest

from sde_edit.datasets.shapes import Shapes
from sde_edit.imaging.batches import batches_of_one_size, in_words, sizes_of
from sde_edit.imaging.subset import Subset
from tests.unit.evaluation.runs import Pictures


def test_batches_hold_one_size_and_lose_nothing():
    sizes = {c: (4, 8) if c in "adfg" else (8, 4) for c in "abcdefgh"}
    made = batches_of_one_size("abcdefgh", sizes, 3)
    assert made == (("a", "d", "f"), ("b", "c", "e"), ("g",), ("h",))


def test_without_sizes_batches_are_cut_in_order():
    assert batches_of_one_size("abcde", {}, 2) == (("a", "b"), ("c", "d"), ("e",))


def test_a_part_of_a_data_set_has_the_sizes_of_the_whole():
    whole = Pictures(sides=(8, 12))
    assert sizes_of(Subset(whole, ("001", "002")), ["001", "002"]) == {
        "001": (12, 12),
        "002": (8, 8),
    }
    scenes = Shapes(split="test", n=2)
    assert sizes_of(Subset(scenes, tuple(scenes.ids())), scenes.ids()) == {}


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ([(512, 512)] * 2, "512x512"),
        ([(512, 768), (512, 340), (340, 512), (512, 340)], "340x512 to 512x768 in 3 sizes"),
    ],
)
def test_sizes_are_told_from_the_least_to_the_largest(sizes, words):
    assert in_words(sizes) == words
