"""Pickles of DragBench-205: arrays of numbers come back as NumPy reads them, others are refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sde_edit.datasets import dragbench_205
from sde_edit.datasets.dragbench_205 import read_pickle
from sde_edit.errors import UserError


def stored(folder: Path, value: Any, protocol: int = 4) -> Path:
    file = folder / "meta_data.pkl"
    file.write_bytes(pickle.dumps({"mask": value}, protocol))
    return file


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("dtype", ["u1", "i8", "?", "<f4", ">f8", ">u2"])
def test_arrays_of_numbers_are_read(tmp_path: Path, dtype: str, protocol: int) -> None:
    wanted = np.arange(6).reshape(2, 3).astype(dtype)
    for array in (wanted, np.asfortranarray(wanted)):
        found = read_pickle(stored(tmp_path, array, protocol))["mask"]
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("array", [
    np.array([None, 1], object),
    np.array(["a"]),
    np.array([b"a"]),
    np.zeros(2, [("a", "u1")]),
    np.array(["2026"], "datetime64[Y]"),
    np.zeros(2, "c8"),
], ids=str)  # fmt: skip
def test_arrays_of_anything_else_are_refused(tmp_path: Path, array: Any) -> None:
    with pytest.raises(UserError, match=r"meta_data\.pkl: (it holds an array of|damaged)"):
        read_pickle(stored(tmp_path, array))


class _Pointers:
    """Pickles as an object array whose content is bytes, which NumPy took for pointers."""

    def __reduce__(self) -> Any:
        rebuild, arguments, _ = np.empty(0).__reduce__()
        state = (1, (2,), np.dtype("O"), False, b"AAAAAAAABBBBBBBB")
        return rebuild, arguments, state


class _Larger(_Pointers):
    def __reduce__(self) -> Any:
        rebuild, arguments, _ = np.empty(0).__reduce__()
        return rebuild, arguments, (1, (2**40,), np.dtype("u1"), False, b"12")


@pytest.mark.parametrize("value", [_Pointers(), _Larger()])
def test_a_pickle_cannot_make_arrays_beyond_its_bytes(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UserError, match=r"meta_data\.pkl: (it holds an array of|damaged)"):
        read_pickle(stored(tmp_path, value))


def test_a_file_too_large_for_an_item_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(dragbench_205, "_MOST_BYTES", 100)
    with pytest.raises(UserError, match="which no item needs"):
        read_pickle(stored(tmp_path, np.zeros(200, np.uint8)))
