"""Both sets called DragBench in small files of their official layouts, and what can be wrong."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sde_edit.api.example import Drag
from sde_edit.datasets.dragbench_205 import read_pickle
from sde_edit.errors import UserError
from sde_edit.imaging.image_drags import ImageDrags
from sde_edit.registry import build

SIDE = 32


pytestmark = pytest.mark.usefixtures("own_cache")


def picture(folder: Path, name: str, size: tuple[int, int]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 40, 10)).save(folder / name)
    return folder


def mask_of(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """White in the box (left, top, right, bottom)."""
    mask = Image.new("L", size, 0)
    mask.paste(255, box)
    return mask


def write_100(
    root: Path, name: str, source: Any, target: Any, size: tuple[int, int] = (SIDE, SIDE)
) -> Path:
    folder = picture(root / name, "origin_image.png", size)
    said = {"prompt": f"a {name}", "source": source, "target": target}
    (folder / "prompt.json").write_text(json.dumps(said))
    return folder


def write_205(root: Path, name: str, points: Any, size: tuple[int, int] = (SIDE, SIDE)) -> Path:
    folder = picture(root / name, "original_image.png", size)
    said = {"prompt": f"a {name}", "points": points}
    (folder / "drag_instruction.json").write_text(json.dumps(said))
    return folder


def pickled(folder: Path, points: Any, mask: Any, prompt: str = "pickled") -> Path:
    said = {"prompt": prompt, "points": points, "mask": mask}
    (folder / "meta_data.pkl").write_bytes(pickle.dumps(said, protocol=4))
    return folder


def made(kind: str, root: Path, **settings: Any) -> ImageDrags:
    data = build("datasets", kind, {"root": str(root), "resolution": SIDE} | settings)
    assert isinstance(data, ImageDrags)
    return data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three items of the paper's set: without mask, with one, and with one that is all white."""
    root = tmp_path / "data"
    write_100(root, "0/bear", [[4, 20]], [[6, 10]])
    mask_of((SIDE, SIDE), (0, 0, 16, 32)).save(
        write_100(root, "0/tree", [[5, 5], [8, 8]], [[9, 9], [8, 12]]) / "mask.png"
    )
    mask_of((SIDE, SIDE), (0, 0, 32, 32)).save(
        write_100(root, "1/girl", [[1, 2]], [[3, 4]]) / "mask.png"
    )
    return root


# ------------------------------------------------------------------ examples


def test_items_are_their_points_prompts_and_masks(root: Path) -> None:
    data = made("dragbench", root)
    assert sorted(data.ids()) == ["0/bear", "0/tree", "1/girl"]
    bear, tree, girl = (data.load(name) for name in sorted(data.ids()))
    assert (bear.caption, bear.target, bear.truth) == ("a 0/bear", "", None)
    assert bear.drags == (Drag((4, 20), (6, 10)),)
    assert tree.drags == (Drag((5, 5), (9, 9)), Drag((8, 8), (8, 12)))
    assert bear.mask is girl.mask is None  # no mask, or all white: all may change
    assert tree.mask is not None
    assert tree.mask[:, :16].all()
    assert not tree.mask[:, 16:].any()


def test_status_counts_folders_and_masks(root: Path) -> None:
    status = made("dragbench", root).status()
    assert (status.found, list(status.problems)) == (3, [])
    assert list(status.notes) == ["3 items in 2 folders: 0 2, 1 1; 1 with a mask"]


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
    example = made("dragbench", tmp_path).load("a/b")
    (drag,) = example.drags
    assert drag == Drag(expected, (16, 16))
    y, x = np.nonzero(example.image[..., 0] > 160)
    assert max(abs(x.min() - expected[0]), abs(y.min() - expected[1])) <= 1


def test_the_order_is_seeded_and_the_digest_covers_points_and_masks(root: Path) -> None:
    assert made("dragbench", root, n=2).ids() == made("dragbench", root).ids()[:2]
    found = {made("dragbench", root).digest()}
    write_100(root, "0/bear", [[4, 20]], [[6, 11]])
    found.add(made("dragbench", root).digest())
    mask_of((SIDE, SIDE), (0, 0, 17, 32)).save(root / "0/tree/mask.png")
    found.add(made("dragbench", root).digest())
    (root / "0/tree/mask.png").unlink()
    assert len({*found, made("dragbench", root).digest()}) == 4


# ------------------------------------------------------------------ DragDiffusion's


def test_points_of_205_are_sources_and_targets_in_turn(tmp_path: Path) -> None:
    folder = write_205(tmp_path, "animals/x", [[1, 2], [3, 4], [5, 6], [7, 8]])
    pickled(folder, [[9, 9], [1, 1]], np.ones((SIDE, SIDE), np.uint8))
    example = made("dragbench_205", tmp_path).load("animals/x")
    assert example.caption == "a animals/x"  # the JSON is preferred
    assert example.drags == (Drag((1, 2), (3, 4)), Drag((5, 6), (7, 8)))


def test_a_pickle_says_the_same_as_the_json(tmp_path: Path) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, :16] = 1  # as in the official files: 0 and 1
    folder = write_205(tmp_path, "animals/x", [])
    (folder / "drag_instruction.json").unlink()
    pickled(folder, [[1, 2], [3, 4]], mask)
    example = made("dragbench_205", tmp_path).load("animals/x")
    assert (example.caption, example.drags) == ("pickled", (Drag((1, 2), (3, 4)),))
    np.testing.assert_array_equal(example.mask, mask)


def test_what_crop_cuts_off_is_left_out_and_counted(tmp_path: Path) -> None:
    write_205(tmp_path, "a/in", [[32, 4], [40, 8]], (64, 32))
    write_205(tmp_path, "a/out", [[32, 4], [60, 8]], (64, 32))
    data = made("dragbench_205", tmp_path)
    assert data.ids() == ["a/in"]
    assert data.status().notes[1:] == [
        "1 items left out, as data.fit=crop cuts off a point: a/out",
    ]  # fmt: skip
    with pytest.raises(UserError, match="a/out: a point lies outside the central square"):
        data.load("a/out")


# -- hostile files


class _Runs:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    ran, hostile = tmp_path / "ran", tmp_path / "a" / "meta_data.pkl"
    folder = write_205(tmp_path, "a", [])
    (folder / "drag_instruction.json").unlink()
    hostile.write_bytes(pickle.dumps({"prompt": "", "points": _Runs(ran)}, protocol))
    with pytest.raises(UserError, match=r"meta_data\.pkl: it holds (posix|nt)\.mkdir"):
        made("dragbench_205", tmp_path).load("a")
    assert not ran.exists()
    pickle.loads(hostile.read_bytes())  # the bait is real
    assert ran.is_dir()


@pytest.mark.parametrize("value", [
    eval, print, np.load, np.lib.format.open_memmap, type, getattr, Path("x"),
])  # fmt: skip
def test_only_arrays_are_in_a_pickle(tmp_path: Path, value: Any) -> None:
    (tmp_path / "meta_data.pkl").write_bytes(pickle.dumps({"prompt": value}))
    with pytest.raises(UserError, match="it holds"):
        read_pickle(tmp_path / "meta_data.pkl")


def test_a_pickle_cut_short_is_named(tmp_path: Path) -> None:
    whole = pickle.dumps({"prompt": "", "points": [], "mask": np.zeros((4, 4), np.uint8)})
    file = tmp_path / "meta_data.pkl"
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"meta_data\.pkl"):
            read_pickle(file)


def test_no_path_is_taken_from_what_is_in_a_file(root: Path, tmp_path: Path) -> None:
    """Nor is a linked folder entered."""
    picture(tmp_path / "outside", "origin_image.png", (SIDE, SIDE))
    said = {"prompt": "p", "source": [[1, 1]], "target": [[9, 9]]}
    said |= dict.fromkeys(("image", "origin_image", "mask", "id"), "../../../outside")
    (root / "0/bear/prompt.json").write_text(json.dumps(said))
    (root / "2").symlink_to(tmp_path / "outside", target_is_directory=True)
    data = made("dragbench", root)
    assert sorted(data.ids()) == ["0/bear", "0/tree", "1/girl"]
    assert data.load("0/bear").mask is None


# ------------------------------------------------------------------ what can be wrong


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
    root: Path, source: Any, target: Any, message: str
) -> None:
    write_100(root, "0/bear", source, target)
    data = made("dragbench", root)
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


def test_a_source_that_may_not_change_is_refused_and_a_target_is_noted(root: Path) -> None:
    mask_of((SIDE, SIDE), (0, 0, 9, 9)).save(root / "0/tree/mask.png")  # a target at (9, 9)
    assert made("dragbench", root).status().notes[1:] == [
        "1 items have a target that the mask keeps: 0/tree",
    ]  # fmt: skip
    mask_of((SIDE, SIDE), (0, 0, 6, 6)).save(root / "0/tree/mask.png")  # a source at (8, 8)
    with pytest.raises(UserError, match=r"0/tree/mask\.png: a source point lies outside the white"):
        made("dragbench", root).load("0/tree")


def test_a_point_held_still_beside_others_is_noted(root: Path) -> None:
    write_100(root, "0/bear", [[4, 20], [1, 1]], [[6, 10], [1, 1]])
    (_, note) = made("dragbench", root).status().notes
    assert note == "1 items hold a point still (source and target are one): 0/bear"


def test_a_mask_of_another_size_is_named(root: Path) -> None:
    mask_of((SIDE, 8), (0, 0, 9, 8)).save(root / "0/bear/mask.png")
    with pytest.raises(UserError, match=r"0/bear/mask\.png: a mask of \(32, 8\)"):
        made("dragbench", root).load("0/bear")


def test_files_that_lack_are_named(root: Path, tmp_path: Path) -> None:
    (root / "0/bear/prompt.json").unlink()
    (root / "0/tree/origin_image.png").unlink()
    data = made("dragbench", root, source="Ask the librarian.")
    assert "prompt.json" in _refusal(lambda: data.load("0/bear"))
    assert "origin_image.png: no such file" in _refusal(lambda: data.load("0/tree"))
    assert data.status().found == 1
    nowhere = made("dragbench", tmp_path / "nowhere", source="Ask the librarian.")
    assert nowhere.status().found == 0
    assert "Ask the librarian" in _refusal(nowhere.ids)
