"""Whether the recogniser names an output as it names the reference."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sde_edit.api.example import Example
from sde_edit.registry import build
from tests.unit.metrics.inputs import loaded, truths


def test_attributes_compare_two_answers(recogniser, images, examples):
    class Names:
        def names(self, images_BHWC: Tensor) -> list[tuple[set[tuple[str, str]], str]]:
            bright = (image.float().mean() > 127 for image in images_BHWC)
            return [({("ring", "red")}, "blue" if one else "grey") for one in bright]

    metric = build("metrics", "attributes", {})
    metric.__dict__["_recogniser"] = Names()
    bright, dark = torch.full_like(images[:1], 250), torch.full_like(images[:1], 5)
    white = [Example("w", bright[0].numpy())] * 2
    assert metric.measure(torch.cat([bright, dark]), white).flatten().tolist() == [1.0, 0.0]
    assert loaded("attributes").measure(truths(examples), examples).mean() == 1


class Says:
    """A recogniser that answers in turn, first for the outputs and then for the references."""

    def __init__(self, *answers: list[tuple[set[tuple[str, str]], str]]) -> None:
        self.answers = iter(answers)

    def names(self, images_BHWC: Tensor) -> list[tuple[set[tuple[str, str]], str]]:
        return next(self.answers)


SEEN = [
    ({("ring", "red")}, "grey"),  # as in the reference
    ({("star", "red")}, "grey"),  # another shape
    ({("ring", "blue")}, "grey"),  # another colour
    ({("ring", "red")}, "pink"),  # another background
    ({("ring", "red"), ("star", "red")}, "grey"),  # a thing too many
    (set(), "grey"),
]


@pytest.mark.parametrize(("part", "expected"), [
    ("all", [1, 0, 0, 0, 0, 0]),
    ("shape", [1, 0, 1, 1, 0, 0]),
    ("colour", [1, 1, 0, 1, 1, 0]),
    ("background", [1, 1, 1, 0, 1, 1]),
])  # fmt: skip
def test_a_part_of_the_verdict_looks_at_nothing_else(part, expected):
    metric = build("metrics", "attributes", {"part": part})
    metric.__dict__["_recogniser"] = Says(SEEN, [SEEN[0]] * len(SEEN))
    blank = np.zeros((64, 64, 3), np.uint8)
    rows = metric.measure(
        torch.zeros(len(SEEN), 64, 64, 3, dtype=torch.uint8), [Example("e", blank)] * len(SEEN)
    )
    assert rows.flatten().tolist() == expected


def test_pairs_that_are_crossed_are_wrong_as_a_whole_and_right_in_their_parts():
    """Red ring and blue star for a blue ring and a red star."""
    crossed = [({("ring", "red"), ("star", "blue")}, "grey")]
    right = [({("ring", "blue"), ("star", "red")}, "grey")]
    blank = np.zeros((64, 64, 3), np.uint8)
    found = {}
    for part in ("all", "shape", "colour"):
        metric = build("metrics", "attributes", {"part": part})
        metric.__dict__["_recogniser"] = Says(crossed, right)
        found[part] = metric.measure(
            torch.zeros(1, 64, 64, 3, dtype=torch.uint8), [Example("e", blank)]
        ).item()
    assert found == {"all": 0, "shape": 1, "colour": 1}


def test_the_convention_of_the_whole_verdict_stays(recogniser):
    """Scores that are stored compare only with equal conventions."""
    start = (
        "share of images named exactly as their reference: all (shape, colour) pairs and the "
        "background; both named by the embedded recogniser, model.safetensors sha256 "
    )
    convention = build("metrics", "attributes", {}).convention()
    assert convention.startswith(start)
    assert convention.endswith("; native size")
    parts = ("all", "shape", "colour", "background")
    said = {build("metrics", "attributes", {"part": part}).convention() for part in parts}
    assert len(said) == len(parts)
