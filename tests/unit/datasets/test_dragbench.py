"""The paper's DragBench in small files of its official layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from sde_edit.api.example import Drag
from tests.unit.dragbench_files import data_set

pytestmark = pytest.mark.usefixtures("own_cache")


# ------------------------------------------------------------------ examples


def test_items_are_their_points_prompts_and_masks(drag_root: Path) -> None:
    data = data_set("dragbench", drag_root)
    assert sorted(data.ids()) == ["0/bear", "0/tree", "1/girl"]
    bear, tree, girl = (data.load(name) for name in sorted(data.ids()))
    assert (bear.caption, bear.target, bear.truth) == ("a 0/bear", "", None)
    assert bear.drags == (Drag((4, 20), (6, 10)),)
    assert tree.drags == (Drag((5, 5), (9, 9)), Drag((8, 8), (8, 12)))
    assert bear.mask is girl.mask is None  # no mask, or all white: all may change
    assert tree.mask is not None
    assert tree.mask[:, :16].all()
    assert not tree.mask[:, 16:].any()


def test_status_counts_folders_and_masks(drag_root: Path) -> None:
    status = data_set("dragbench", drag_root).status()
    assert (status.found, list(status.problems)) == (3, [])
    assert list(status.notes) == ["3 items in 2 folders: 0 2, 1 1; 1 with a mask"]
