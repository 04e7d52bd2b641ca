"""DragBench of 205 items in small files of its official layout."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sde_edit.api.example import Drag
from sde_edit.datasets.dragbench_205 import read_pickle
from sde_edit.errors import UserError
from tests.unit.dragbench_files import SIDE, data_set, write_205

pytestmark = pytest.mark.usefixtures("own_cache")


def pickled(folder: Path, points: Any, mask: Any, prompt: str = "pickled") -> Path:
    said = {"prompt": prompt, "points": points, "mask": mask}
    (folder / "meta_data.pkl").write_bytes(pickle.dumps(said, protocol=4))
    return folder


def test_points_of_205_are_sources_and_targets_in_turn(tmp_path: Path) -> None:
    folder = write_205(tmp_path, "animals/x", [[1, 2], [3, 4], [5, 6], [7, 8]])
    pickled(folder, [[9, 9], [1, 1]], np.ones((SIDE, SIDE), np.uint8))
    example = data_set("dragbench_205", tmp_path).load("animals/x")
    assert example.caption == "a animals/x"  # the JSON is preferred
    assert example.drags == (Drag((1, 2), (3, 4)), Drag((5, 6), (7, 8)))


def test_a_pickle_says_the_same_as_the_json(tmp_path: Path) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, :16] = 1  # as in the official files: 0 and 1
    folder = write_205(tmp_path, "animals/x", [])
    (folder / "drag_instruction.json").unlink()
    pickled(folder, [[1, 2], [3, 4]], mask)
    example = data_set("dragbench_205", tmp_path).load("animals/x")
    assert (example.caption, example.drags) == ("pickled", (Drag((1, 2), (3, 4)),))
    np.testing.assert_array_equal(example.mask, mask)


def test_what_crop_cuts_off_is_left_out_and_counted(tmp_path: Path) -> None:
    write_205(tmp_path, "a/in", [[32, 4], [40, 8]], (64, 32))
    write_205(tmp_path, "a/out", [[32, 4], [60, 8]], (64, 32))
    data = data_set("dragbench_205", tmp_path)
    assert data.ids() == ["a/in"]
    assert data.status().notes[1:] == [
        "1 items left out, as data.fit=crop cuts off a point: a/out",
    ]  # fmt: skip
    with pytest.raises(UserError, match="a/out: a point lies outside the central square"):
        data.load("a/out")


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
        data_set("dragbench_205", tmp_path).load("a")
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
