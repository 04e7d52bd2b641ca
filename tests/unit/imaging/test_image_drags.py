"""Points, masks and instructions of drags, and what can be wrong with them."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sde_edit.api.example import Drag
from sde_edit.errors import UserError
from tests.builders import box_mask
from tests.unit.dragbench_files import SIDE, data_set, plain_image, write_100

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize(("size", "point", "expected"), [
    ((64, 64), (10, 20), (5, 10)),
    ((64, 32), (16, 4), (0, 4)),  # the left 16 columns are cut off
    ((48, 96), (6, 60), (4, 24)),
    ((16, 16), (4, 5), (8, 10)),
])  # fmt: skip
def test_points_go_where_their_pixels_go(
    tmp_path: Path, size: tuple[int, int], point: Any, expected: Any
) -> None:
    centre = [size[0] // 2, size[1] // 2]
    folder = write_100(tmp_path, "a/b", [point], [centre], size)
    image = Image.new("RGB", size, "black")
    image.paste((255, 255, 255), (point[0], point[1], point[0] + 4, point[1] + 4))
    image.save(folder / "origin_image.png")
    example = data_set("dragbench", tmp_path).load("a/b")
    (drag,) = example.drags
    assert drag == Drag(expected, (16, 16))
    y, x = np.nonzero(example.image[..., 0] > 160)
    assert max(abs(x.min() - expected[0]), abs(y.min() - expected[1])) <= 1


def test_the_order_is_seeded_and_the_digest_covers_points_and_masks(drag_root: Path) -> None:
    assert data_set("dragbench", drag_root, n=2).ids() == data_set("dragbench", drag_root).ids()[:2]
    found = {data_set("dragbench", drag_root).digest()}
    write_100(drag_root, "0/bear", [[4, 20]], [[6, 11]])
    found.add(data_set("dragbench", drag_root).digest())
    box_mask(SIDE, SIDE, (0, 0, 17, 32)).save(drag_root / "0/tree/mask.png")
    found.add(data_set("dragbench", drag_root).digest())
    (drag_root / "0/tree/mask.png").unlink()
    assert len({*found, data_set("dragbench", drag_root).digest()}) == 4


def test_no_path_is_taken_from_what_is_in_a_file(drag_root: Path, tmp_path: Path) -> None:
    """Nor is a linked folder entered."""
    plain_image(tmp_path / "outside", "origin_image.png", (SIDE, SIDE))
    said = {"prompt": "p", "source": [[1, 1]], "target": [[9, 9]]}
    said |= dict.fromkeys(("image", "origin_image", "mask", "id"), "../../../outside")
    (drag_root / "0/bear/prompt.json").write_text(json.dumps(said))
    (drag_root / "2").symlink_to(tmp_path / "outside", target_is_directory=True)
    data = data_set("dragbench", drag_root)
    assert sorted(data.ids()) == ["0/bear", "0/tree", "1/girl"]
    assert data.load("0/bear").mask is None


def test_ids_are_the_same_on_a_file_system_that_decomposes(tmp_path: Path) -> None:
    write_100(tmp_path, "0/cafe\u0301", [[1, 1]], [[9, 9]])
    data = data_set("dragbench", tmp_path)
    assert data.ids() == ["0/caf\u00e9"]
    assert data.load("0/caf\u00e9").drags
    assert not data.status().problems
    (tmp_path / "0/cafe\u0301/prompt.json").write_text("{")
    (problem,) = data_set("dragbench", tmp_path).status().problems
    assert "prompt.json" in problem


@pytest.mark.parametrize("name", ["#recycle/0/bear", "0/.trash", "__MACOSX/0/bear"])
def test_what_file_managers_leave_behind_is_no_item_and_counted(drag_root: Path, name: str) -> None:
    ids = data_set("dragbench", drag_root).ids()
    shutil.copytree(drag_root / "0/bear", drag_root / name)
    data = data_set("dragbench", drag_root)
    assert data.ids() == ids
    assert f"1 folders ignored, hidden or left behind: {name}" in data.status().notes


def test_an_instruction_that_is_a_pipe_is_not_waited_for(drag_root: Path) -> None:
    (drag_root / "0/bear/prompt.json").unlink()
    os.mkfifo(drag_root / "0/bear/prompt.json")
    (problem,) = data_set("dragbench", drag_root).status().problems
    assert "prompt.json: is a pipe" in problem


@pytest.mark.parametrize(("other", "message"), [
    (b"0/BEAR", r"2 items in .* share their name.*: 0/BEAR; 0/bear"),
    (b"0/caf\xe9", r"1 items in .* not UTF-8 \(rename them\): 0/caf\\udce9"),
])  # fmt: skip
def test_items_whose_names_are_ambiguous_are_named(
    drag_root: Path, other: bytes, message: str
) -> None:
    shutil.copytree(drag_root / "0/bear", Path(os.fsdecode(os.fsencode(drag_root) + b"/" + other)))
    data = data_set("dragbench", drag_root)
    with pytest.raises(UserError, match=message):
        data.ids()
    (problem,) = data.status().problems
    assert re.search(message, problem)


@pytest.mark.parametrize(("source", "target", "message"), [
    ([], [], "0 source and 0 target points"),
    ([[1, 1], [2, 2]], [[3, 3]], "2 source and 1 target points"),
    ([[1, 1]], [[1, 1]], "source and target are one"),
    ([[1, SIDE]], [[1, 1]], "(1.0, 32.0) lies outside the image, 32x32"),
    ([[1, 1]], [[-1, 1]], "(-1.0, 1.0) lies outside the image"),
    ([[float("nan"), 1]], [[1, 1]], "lies outside the image"),
    ([[1, 1, 1]], [[1, 1]], "prompt.json: source.0"),
    ("../x", [[1, 1]], "prompt.json: source"),
])  # fmt: skip
def test_items_that_cannot_be_dragged_are_named(
    drag_root: Path, source: Any, target: Any, message: str
) -> None:
    write_100(drag_root, "0/bear", source, target)
    data = data_set("dragbench", drag_root)
    (problem,) = data.status().problems
    assert data.status().found == 2
    for said in (problem, _refusal(data.ids), _refusal(lambda: data.load("0/bear"))):
        assert message in said
        assert "0/bear" in said
    assert data.load("0/tree").drags  # the others can be had


def _refusal(call: Any) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


def test_a_source_that_may_not_change_is_refused_and_a_target_is_noted(drag_root: Path) -> None:
    box_mask(SIDE, SIDE, (0, 0, 9, 9)).save(drag_root / "0/tree/mask.png")  # a target at (9, 9)
    assert data_set("dragbench", drag_root).status().notes[1:] == [
        "1 items have a target that the mask keeps: 0/tree",
    ]  # fmt: skip
    box_mask(SIDE, SIDE, (0, 0, 6, 6)).save(drag_root / "0/tree/mask.png")  # a source at (8, 8)
    with pytest.raises(UserError, match=r"0/tree/mask\.png: a source point lies outside the white"):
        data_set("dragbench", drag_root).load("0/tree")


def test_a_point_held_still_beside_others_is_noted(drag_root: Path) -> None:
    write_100(drag_root, "0/bear", [[4, 20], [1, 1]], [[6, 10], [1, 1]])
    (_, note) = data_set("dragbench", drag_root).status().notes
    assert note == "1 items hold a point still (source and target are one): 0/bear"


def test_a_mask_of_another_size_is_named(drag_root: Path) -> None:
    box_mask(SIDE, 8, (0, 0, 9, 8)).save(drag_root / "0/bear/mask.png")
    with pytest.raises(UserError, match=r"0/bear/mask\.png: the mask is 32x8, and its image"):
        data_set("dragbench", drag_root).load("0/bear")


def test_files_that_lack_are_named(drag_root: Path, tmp_path: Path) -> None:
    (drag_root / "0/bear/prompt.json").unlink()
    (drag_root / "0/tree/origin_image.png").unlink()
    data = data_set("dragbench", drag_root, source="Ask the librarian.")
    assert "prompt.json" in _refusal(lambda: data.load("0/bear"))
    assert "origin_image.png: no such file" in _refusal(lambda: data.load("0/tree"))
    assert data.status().found == 1
    nowhere = data_set("dragbench", tmp_path / "nowhere", source="Ask the librarian.")
    assert nowhere.status().found == 0
    assert "Ask the librarian" in _refusal(nowhere.ids)
