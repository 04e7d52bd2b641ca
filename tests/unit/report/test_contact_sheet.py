"""Contact sheets and the picture of a mask."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sde_edit.api.dataset import DataStatus
from sde_edit.api.example import Drag, Example
from sde_edit.errors import UserError
from sde_edit.imaging.shapes_world import scene_of
from sde_edit.report.contact_sheet import contact_sheet, masked, run_sheet, runs_sheet
from sde_edit.store.runs import Run, RunStore
from tests.builders import add_images, grey, make_spec, png


def images(n: int) -> list[np.ndarray]:
    return [scene_of("val", i).render() for i in range(n)]


def test_every_pixel_is_enlarged_unchanged() -> None:
    original = images(1)
    sheet = np.asarray(contact_sheet({"a": original, "b": original}, scale=3))
    enlarged = original[0].repeat(3, axis=0).repeat(3, axis=1)
    for x in (12, 12 + 192 + 12):
        rows = sheet[-12 - 192 : -12, x : x + 192]
        np.testing.assert_array_equal(rows, enlarged)


def test_headings_are_drawn_over_their_columns() -> None:
    sheet = np.asarray(contact_sheet({"original": images(1), "": images(1)}, scale=3))
    top = sheet[: -12 - 192]
    assert (top[:, : 12 + 192] < 128).any()
    assert (top[:, 12 + 192 :] == 255).all()


def test_the_scale_makes_small_images_comfortable_and_leaves_large_ones() -> None:
    small = contact_sheet({"a": images(2)})
    assert small.width == 12 + 192 + 12
    large = contact_sheet({"a": [np.zeros((512, 512, 3), np.uint8)]})
    assert large.width == 12 + 512 + 12


def test_captions_wrap_and_take_their_room() -> None:
    plain = contact_sheet({"a": images(2)})
    short = contact_sheet({"a": images(2)}, captions=["a star", "a ring"])
    long = contact_sheet({"a": images(2)}, captions=["a red star on a white background " * 3, ""])
    assert plain.height < short.height < long.height
    assert plain.width == short.width == long.width


def test_captions_are_not_cut_off() -> None:
    caption = np.asarray(contact_sheet({"a": images(1)}, captions=["AAAA"]))[-40:]
    inked = (caption < 128).any(axis=(1, 2))
    assert inked.any()
    assert not inked[:4].any()  # white above the letters: their tops are there
    assert not inked[-5:].any()


def test_same_input_same_pixels() -> None:
    sheets = [contact_sheet({"a": images(2)}, captions=["x", "y"]).tobytes() for _ in range(2)]
    assert sheets[0] == sheets[1]


@pytest.mark.parametrize(
    ("columns", "captions", "message"),
    [
        ({}, None, "at least one"),
        ({"a": []}, None, "at least one"),
        ({"a": images(1), "b": images(2)}, None, "longer"),
        ({"a": [np.zeros((8, 8), np.uint8)]}, None, r"must all be \[H, W, 3\]"),
        ({"a": images(1)}, ["one", "too many"], "2 captions for 1 rows"),
    ],
)
def test_unfit_input_is_refused(
    columns: dict[str, list[np.ndarray]], captions: list[str] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        contact_sheet(columns, captions=captions)


@pytest.mark.parametrize(("columns", "across"), [(8, 8), (9, 5), (16, 8), (17, 6)])
def test_many_columns_go_into_parts_below_each_other(columns: int, across: int) -> None:
    shades = {str(i): [np.full((64, 64, 3), 100 + 5 * i, np.uint8)] * 2 for i in range(columns)}
    sheet = np.asarray(contact_sheet(shades, captions=["a star", "a ring"], title="t", scale=1))
    assert sheet.shape[1] == 12 + across * (64 + 12)
    found = []
    for line in sheet[..., 0]:
        levels = list(line[12 + 62 :: 64 + 12][:across])
        if levels[0] in range(100, 255, 5) and (not found or found[-1] != levels):
            found.append(levels)
    parts = [list(range(i, min(i + across, columns))) for i in range(0, columns, across)]
    shown = [[100 + 5 * i for i in part] + [255] * (across - len(part)) for part in parts]
    assert found == shown


def test_an_arrow_is_drawn_smoothly_in_the_first_image_from_source_to_target() -> None:
    grey = [np.full((64, 64, 3), 128, np.uint8)]
    sheet = contact_sheet({"a": grey, "b": grey}, drags=[[Drag((10, 32), (40, 32))]], scale=3)
    first, second = (np.asarray(sheet)[-12 - 192 : -12, x : x + 192, 0] for x in (12, 216))
    assert (second == 128).all()
    changed = np.argwhere(first != 128)
    assert changed.min(axis=0) == pytest.approx([32 * 3 - 8, 10 * 3 - 3], abs=2)
    assert changed.max(axis=0) == pytest.approx([32 * 3 + 8, 40 * 3 + 3], abs=2)
    assert (first[32 * 3, 31 : 40 * 3 - 1] == 255).all()
    assert ((first > 20) & (first < 128)).any()  # its rim fades


def test_images_of_several_sizes_stand_undistorted_in_cells_of_one() -> None:
    wide, high = (np.full(shape, 9, np.uint8) for shape in ((40, 64, 3), (64, 32, 3)))
    drags = [[Drag((8, 8), (24, 8))], []]
    sheet = np.asarray(contact_sheet({"a": [wide, high], "b": [wide, high]}, drags=drags, scale=2))
    rows = [sheet[-140 * n : sheet.shape[0] - 140 * n + 128] for n in (2, 1)]
    for row, shape, beside in ((rows[0], (80, 128), (24, 0)), (rows[1], (128, 64), (0, 32))):
        for left in (12, 12 + 128 + 12):
            cell = row[:, left : left + 128]
            ends = [start + side for start, side in zip(beside, shape, strict=True)]
            inside = cell[beside[0] : ends[0], beside[1] : ends[1]]
            assert (inside[-8:] == 9).all()
            assert (inside == 9).mean() > 0.8
            assert (cell == 228).sum() == cell.size - inside.size
    middle = rows[0][24 + 2 * 8, 12:]  # the row of pixels in which the arrow's points lie
    inked = np.flatnonzero((middle[:128] > 200).all(axis=-1))
    assert (inked.min(), inked.max()) == pytest.approx((2 * 8, 2 * 24), abs=2)


def test_arrows_are_for_rows() -> None:
    with pytest.raises(ValueError, match="drags of 2 images for 1 rows"):
        contact_sheet({"a": images(1)}, drags=[(), ()])


def test_a_title_stands_over_the_headings_at_the_left() -> None:
    plain = np.asarray(contact_sheet({"a": images(1), "b": images(1)}))
    titled = np.asarray(contact_sheet({"a": images(1), "b": images(1)}, title="r = 3"))
    added = len(titled) - len(plain)
    np.testing.assert_array_equal(titled[added:], plain)
    inked = (titled[:added] < 128).any(axis=(0, 2))
    assert inked[12:100].any()
    assert not inked[100:].any()


def test_headings_wider_than_their_column_take_more_lines() -> None:
    short = contact_sheet({"a": images(1), "b": images(1)})
    sheet = np.asarray(contact_sheet({"a heading that is far too long": images(1), "": images(1)}))
    assert len(sheet) > short.height
    assert (sheet[: -12 - 192, 12 + 192 + 6 :] == 255).all()


def test_masked_hides_only_what_the_mask_hides() -> None:
    image = images(1)[0]
    mask = np.zeros((64, 64), np.float32)
    mask[16:48, 16:48] = 1
    shown = masked(image, mask)
    np.testing.assert_array_equal(shown[mask == 0], image[mask == 0])
    hidden = shown[mask == 1]
    assert set(np.unique(hidden)) == {96, 160}
    assert (hidden == hidden[:, :1]).all()


def test_soft_masks_blend() -> None:
    image = np.full((64, 64, 3), 200, np.uint8)
    half = masked(image, np.full((64, 64), 0.5, np.float32))
    assert set(np.unique(half)) == {148, 180}


class Scenes:
    """Four scenes with the same square hidden."""

    def ids(self) -> Sequence[str]:
        return ["d", "c", "b", "a"]

    def load(self, example_id: str) -> Example:
        mask = np.zeros((64, 64), np.float32)
        mask[16:48, 16:48] = 1
        image = scene_of("val", self.ids().index(example_id)).render()
        return Example(example_id, image, f"scene {example_id}", mask)

    def status(self) -> DataStatus:
        return DataStatus(4)

    def digest(self) -> str:
        return "scenes"


def made(tmp_path: Path, sampler: str, ids: Sequence[str], level: int) -> Run:
    """A run whose images all have one grey."""
    run = RunStore(tmp_path).open(make_spec(sampler))
    add_images(run, ids, image=png(grey(level)), seal=False)
    return run


def test_sheet_of_runs_shows_what_they_share_in_the_order_of_the_data(tmp_path: Path) -> None:
    runs = {"ODE": made(tmp_path, "ode", "abc", 10), "SDE": made(tmp_path, "sde", "bcd", 250)}
    sheet = runs_sheet(runs, Scenes(), hidden=True)
    data = Scenes()
    examples = [data.load("c"), data.load("b")]
    expected = contact_sheet(
        {
            "original": [e.image for e in examples],
            "masked": [masked(e.image, e.mask) for e in examples if e.mask is not None],
            "ODE": [grey(10)] * 2,
            "SDE": [grey(250)] * 2,
        },
        captions=["c  scene c", "b  scene b"],
    )
    assert sheet.tobytes() == expected.tobytes()


class Edits(Scenes):
    """The same scenes, each to become its negative."""

    def load(self, example_id: str) -> Example:
        plain = super().load(example_id)
        return dataclasses.replace(plain, truth=255 - plain.image, target=f"not {example_id}")


def test_sheet_of_an_edit_shows_the_truth_and_both_captions(tmp_path: Path) -> None:
    sheet = runs_sheet({"SDE": made(tmp_path, "sde", "b", 10)}, Edits(), hidden=False)
    example = Edits().load("b")
    assert example.truth is not None
    expected = contact_sheet(
        {"original": [example.image], "truth": [example.truth], "SDE": [grey(10)]},
        captions=["b  scene b  ->  not b"],
    )
    assert sheet.tobytes() == expected.tobytes()


def test_a_cut_prompt_is_marked_and_the_foot_says_what_that_means(tmp_path: Path) -> None:
    runs = {"ODE": made(tmp_path, "ode", "abc", 10), "SDE": made(tmp_path, "sde", "abcd", 250)}
    add_images(runs["SDE"], "abcd", image=png(grey(250)), cut=["a", "b"], seal=False)
    shown = [Scenes().load(i) for i in "cb"]
    expected = contact_sheet(
        {"original": [e.image for e in shown], "ODE": [grey(10)] * 2, "SDE": [grey(250)] * 2},
        captions=["c  scene c", "b  scene b  [cut]"],
        foot="[cut]: the prompt is longer than what the text encoder reads; only its beginning was "
        "read. 2 of 4 examples have such a prompt.",
    )
    assert runs_sheet(runs, Scenes(), hidden=False, rows=2).tobytes() == expected.tobytes()
    plain = runs_sheet({"ODE": runs["ODE"]}, Scenes(), hidden=False, rows=2)
    assert plain.height < expected.height


def test_a_task_without_masks_shows_none(tmp_path: Path) -> None:
    sheet = runs_sheet({"SDE": made(tmp_path, "sde", "b", 10)}, Scenes(), hidden=False)
    columns = {"original": [Scenes().load("b").image], "SDE": [grey(10)]}
    assert sheet.tobytes() == contact_sheet(columns, captions=["b  scene b"]).tobytes()


class Talkative(Scenes):
    """The same scenes, with texts of a megabyte."""

    def __init__(self, text: str) -> None:
        self.text = text

    def load(self, example_id: str) -> Example:
        return dataclasses.replace(super().load(example_id), caption=self.text, target=self.text)


@pytest.mark.parametrize("text", ["x" * 1_000_000, "a red star " * 90_000])
def test_a_text_of_any_length_takes_a_few_lines(tmp_path: Path, text: str) -> None:
    runs = {"SDE": made(tmp_path, "sde", "b", 10)}
    sheet = runs_sheet(runs, Talkative(text), hidden=False)
    assert 100 < sheet.height < 700
    short = runs_sheet(runs, Talkative(text[:250]), hidden=False)
    assert short.height <= sheet.height


@pytest.mark.parametrize("cells", [(16, 11), (8, 6), (64, 44)])  # of 4, 8 and 1 pixels a side
def test_a_mask_found_in_cells_lies_where_they_lie_in_an_image_that_ends_within_one(
    tmp_path: Path, cells: tuple[int, int]
) -> None:
    class Cut(Scenes):
        def load(self, example_id: str) -> Example:
            whole = super().load(example_id)
            return Example(whole.id, whole.image[:43], whole.caption)

    side = 64 // cells[0]
    found = np.zeros(cells[::-1], np.uint8)
    found[-1, -1] = 255  # the last cell, of which the image has only a part
    run = RunStore(tmp_path).open(make_spec("sde"))
    add_images(run, ["b"], image=png(grey(10)[:43]), seal=False)
    mask = run.mask_file("b")
    mask.parent.mkdir()
    Image.fromarray(found).convert("1").save(mask)
    image = Cut().load("b").image
    hidden = np.zeros((43, 64))
    hidden[(cells[1] - 1) * side :, -side:] = 1
    columns = {"original": [image], "mask found": [masked(image, hidden)], "SDE": [grey(10)[:43]]}
    sheet = runs_sheet({"SDE": run}, Cut(), hidden=False)
    assert sheet.tobytes() == contact_sheet(columns, captions=["b  scene b"]).tobytes()


def test_run_sheet_is_written_beside_the_run(tmp_path: Path) -> None:
    run = made(tmp_path, "sde", "ab", 100)
    path = run_sheet(run, Scenes(), hidden=True)
    assert path == run.path / "contact.png"
    first = path.read_bytes()
    assert run_sheet(run, Scenes(), hidden=True).read_bytes() == first


def test_runs_without_a_common_example_are_refused(tmp_path: Path) -> None:
    runs = {"ODE": made(tmp_path, "ode", "ab", 10), "SDE": made(tmp_path, "sde", "cd", 20)}
    with pytest.raises(UserError, match="no example was edited by all of"):
        runs_sheet(runs, Scenes(), hidden=True)
