"""Prompt edits of the embedded world: one attribute changes, and the truth is a fresh render."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from sde_edit.datasets.shapes import Shapes
from sde_edit.datasets.shapes_edits import ShapesEdits
from sde_edit.errors import UserError
from sde_edit.imaging.shapes_world import COLOURS, SPLITS, Scene, make_scene
from sde_edit.registry import build

N = 150
EDITS = ("colour", "shape", "background")


def differences(before: Scene, after: Scene) -> list[str]:
    """Names of the fields that differ, those of things included."""
    assert len(before.things) == len(after.things)
    pairs = [(before, after), *zip(before.things, after.things, strict=True)]
    return [
        field.name
        for a, b in pairs
        for field in dataclasses.fields(a)
        if field.name != "things" and getattr(a, field.name) != getattr(b, field.name)
    ]


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("split", SPLITS)
def test_exactly_one_attribute_differs(split: Any, edit: Any) -> None:
    data = ShapesEdits(split=split, n=N, edit=edit)
    for i, example_id in enumerate(data.ids()):
        before, after = data.scenes(example_id)
        assert before == make_scene(SPLITS[split][i])
        assert differences(before, after) == [edit]
        colours = [after.background, *(thing.colour for thing in after.things)]
        assert len(set(colours)) == len(colours)


@pytest.mark.parametrize("edit", ["add", "delete"])
def test_an_object_appears_or_goes(edit: Any) -> None:
    data = ShapesEdits(n=N, edit=edit)
    seconds = []
    for i, example_id in enumerate(data.ids()):
        before, after = data.scenes(example_id)
        both, one = (after, before) if edit == "add" else (before, after)
        assert both == make_scene(SPLITS["test"][i], things_in_it=2)
        assert dataclasses.replace(both, things=one.things) == one
        (left,) = one.things
        seconds.append(both.things.index(left))
        example = data.load(example_id)
        assert (" and " in example.caption, " and " in example.target) == (
            edit == "delete",
            edit == "add",
        )
        gone = both.coverage()[1 - seconds[-1]]
        assert example.mask is not None
        assert not example.mask[gone == 0].any()
        assert example.mask.sum() > 12
    assert 0.4 < np.mean(seconds) < 0.6


def test_any_edit_is_each_of_them() -> None:
    data = ShapesEdits(n=N)
    found = [differences(*data.scenes(example_id)) for example_id in data.ids()]
    counts = [found.count([edit]) for edit in EDITS]
    assert sum(counts) == N
    assert min(counts) > N / 5


def test_an_edit_of_an_object_is_of_its_colour_or_shape() -> None:
    data = ShapesEdits(n=N, edit="object")
    found = [differences(*data.scenes(example_id)) for example_id in data.ids()]
    assert sum(found.count([edit]) for edit in ("colour", "shape")) == N
    assert min(found.count([edit]) for edit in ("colour", "shape")) > N / 3


def test_both_things_of_a_pair_get_edited_and_every_value_is_reached() -> None:
    data = ShapesEdits(n=600, edit="colour")
    scenes = [data.scenes(example_id) for example_id in data.ids()]
    which = [
        [a != b for a, b in zip(before.things, after.things, strict=True)].index(True)
        for before, after in scenes
        if len(before.things) == 2
    ]
    assert 0.4 < np.mean(which) < 0.6
    assert {thing.colour for _, after in scenes for thing in after.things} == set(COLOURS)


@pytest.mark.parametrize("edit", EDITS)
def test_an_example_is_its_scenes(edit: Any) -> None:
    data, plain = ShapesEdits(n=N, edit=edit), Shapes(n=N)
    for example_id in data.ids():
        example, (before, after) = data.load(example_id), data.scenes(example_id)
        np.testing.assert_array_equal(example.image, before.render())
        np.testing.assert_array_equal(example.image, plain.load(example_id).image)
        np.testing.assert_array_equal(example.truth, after.render())
        assert (example.caption, example.target) == (before.caption(), after.caption())
        changed = sum(a != b for a, b in zip(*(t.split() for t in _texts(example)), strict=True))
        assert changed in (1, 2)  # the word, and "a" before it may become "an"
        assert example.reference is None


def _texts(example: Any) -> tuple[str, str]:
    return example.caption, example.target


@pytest.mark.parametrize("edit", EDITS)
def test_the_mask_is_where_the_truth_differs_and_it_can_be_seen(edit: Any) -> None:
    data = ShapesEdits(n=N, edit=edit)
    for example_id in data.ids():
        example = data.load(example_id)
        assert example.mask is not None
        assert example.mask.dtype == np.float32
        assert set(np.unique(example.mask)) == {0, 1}
        differs = (example.image != example.truth).any(axis=-1)
        np.testing.assert_array_equal(example.mask == 1, differs)
        assert differs.sum() >= 12


def test_a_recoloured_thing_changes_no_pixel_beyond_it() -> None:
    """Where the other thing is in front of it, nothing changes."""
    data = ShapesEdits(n=N, edit="colour")
    for example_id in data.ids():
        before, after = data.scenes(example_id)
        (i,) = [i for i, thing in enumerate(before.things) if thing != after.things[i]]
        mask = data.load(example_id).mask
        assert mask is not None
        assert not mask[before.coverage()[i] == 0].any()
        assert mask[before.masks()[i]].all()
        for front in before.coverage()[i + 1 :]:
            assert not mask[front == 1].any()


def test_an_edit_depends_on_its_scene_alone() -> None:
    few, many = ShapesEdits(n=3), ShapesEdits(n=50_000)
    assert few.digest() == many.digest()
    for example_id in few.ids():
        assert few.scenes(example_id) == many.scenes(example_id) == ShapesEdits().scenes(example_id)


def test_golden_edits() -> None:
    """Edits move only with a raised version, for published numbers rest on them."""
    data = ShapesEdits(n=3)
    assert [_texts(data.load(example_id)) for example_id in data.ids()] == GOLDEN


GOLDEN = [
    (
        "a red square and an orange ring on blue background",
        "a red square and an orange ring on pink background",
    ),
    ("a cyan square on black background", "a red square on black background"),
    ("a pink circle on grey background", "a red circle on grey background"),
]


def test_splits_and_edits_have_their_own_digest_and_scenes() -> None:
    kinds = [ShapesEdits(split=s, edit=e) for s in SPLITS for e in (*EDITS, "any")]
    assert len({data.digest() for data in kinds}) == len(kinds)
    scenes = [ShapesEdits(split=s, n=N).scenes(f"{s}-{i:06d}")[0] for s in SPLITS for i in range(N)]
    assert len(set(scenes)) == len(scenes)


@pytest.mark.parametrize(
    "example_id", ["test-000005", "val-000000", "test-0", "0", "test--00001", "../x"]
)
def test_refuses_other_ids(example_id: str) -> None:
    with pytest.raises(UserError, match="ids are test-000000 to test-000004"):
        ShapesEdits(n=5).load(example_id)


@pytest.mark.parametrize(("settings", "message"), [
    ({"n": 0}, "data.n=0"),
    ({"edit": "size"}, "'background', 'object', 'any', 'add' or 'delete'"),
    ({"masks": "small"}, "masks"),
])  # fmt: skip
def test_refuses_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("datasets", "shapes_edits", settings)


def test_status() -> None:
    status = ShapesEdits(n=7).status()
    assert (status.found, list(status.problems)) == (7, [])
