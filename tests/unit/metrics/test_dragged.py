"""Whether a thing arrived, on pictures whose outcome is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sde_edit.api.example import Example
from sde_edit.datasets.shapes_drags import ShapesDrags
from sde_edit.errors import UserError
from sde_edit.imaging.shapes_world import Scene
from sde_edit.registry import build
from tests.unit.metrics.inputs import batch


def moved(before: Scene, after: Scene) -> int:
    (i,) = [i for i, (a, b) in enumerate(zip(before.things, after.things, strict=True)) if a != b]
    return i


# ------------------------------------------------------------------ outcomes that are rendered


def outcomes(data: ShapesDrags, example_id: str) -> dict[str, Any]:
    """What may come of a drag, as pictures."""
    before, after = data.scenes(example_id)
    i = moved(before, after)
    both = replace(before, things=(*before.things, after.things[i]))
    none = replace(before, things=tuple(t for j, t in enumerate(before.things) if j != i))
    images = {"unedited": before, "truth": after, "copied": both, "erased": none}
    return {name: scene.render() for name, scene in images.items()}


EXPECTED = {  # arrived, left behind
    "unedited": (0, 1),
    "truth": (1, 0),
    "copied": (1, 1),
    "erased": (0, 0),
}


@pytest.mark.parametrize("outcome", EXPECTED)
def test_arrived_and_left_behind_are_what_was_rendered(outcome: str) -> None:
    data = ShapesDrags(n=12)
    examples = [data.load(i) for i in data.ids()]
    assert any(len(data.scenes(i)[0].things) == 2 for i in data.ids())
    images = batch(*(outcomes(data, i)[outcome] for i in data.ids()))
    for place, expected in zip(("target", "source"), EXPECTED[outcome], strict=True):
        rows = build("metrics", "dragged", {"place": place}).measure(images, examples)
        assert rows.shape == (12, 1)
        assert (rows == expected).all()


def test_a_thing_that_came_a_fifth_of_the_way_has_not_arrived() -> None:
    data = ShapesDrags(n=12)
    images = []
    for before, after in map(data.scenes, data.ids()):
        i = moved(before, after)
        a, b = before.things[i], after.things[i]
        place = {"x": a.x + 0.2 * (b.x - a.x), "y": a.y + 0.2 * (b.y - a.y)}
        images.append(before.with_thing(i, **place).render())
    examples = [data.load(i) for i in data.ids()]
    metric = build("metrics", "dragged", {"place": "target"})
    assert not metric.measure(batch(*images), examples).any()


def test_an_example_in_which_nothing_moves_is_named() -> None:
    still = Example("still", np.full((16, 16, 3), 90, np.uint8))
    with pytest.raises(UserError, match="'still'"):
        build("metrics", "dragged", {"place": "target"}).measure(batch(still.image), [still])
