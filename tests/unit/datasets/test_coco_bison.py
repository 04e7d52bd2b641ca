"""COCO-BISON in small files of the official form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sde_edit.errors import UserError
from tests.builders import picture
from tests.unit.coco_files import SIZE, Make, N, bison_row, name, official, write, write_captions

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_row_of_bison_is_an_edit(bison: Make, coco: Make) -> None:
    data = bison()
    assert sorted(data.ids()) == [f"bison-{10 + i:06d}" for i in range(1, N)]
    example, plain = data.load("bison-000013"), coco()
    np.testing.assert_array_equal(example.image, plain.load("000000000003").image)
    np.testing.assert_array_equal(example.reference, plain.load("000000000004").image)
    assert example.caption == "Picture 3, caption 0."
    assert (example.target, example.prompt) == ("Target 4.", "Target 4.")
    assert (example.truth, example.mask) == (None, None)


def test_the_digest_of_bison_covers_the_references(bison: Make, coco_root: Path) -> None:
    first = bison().digest()
    picture(*SIZE, 9).save(
        coco_root / "val2017" / name(N)
    )  # the true image of a row, edited in none
    changed = bison().digest()
    rows = [bison_row(10 + i, i, i + 1) | {"caption": "Other."} for i in range(1, N)]
    write(coco_root, "bison_annotations.cocoval2014.json", {"data": rows})
    assert len({first, changed, bison().digest()}) == 3


def test_rows_whose_images_are_not_listed_are_left_out_and_counted(
    bison: Make, coco_root: Path
) -> None:
    content = official()
    content["images"] = [image for image in content["images"] if image["id"] != 3]
    write_captions(coco_root, content)
    data = bison()
    assert not {"bison-000012", "bison-000013"} & set(data.ids())
    notes = data.status().notes
    assert any("no caption" in note and "bison-000013" in note for note in notes)
    assert any("true image" in note and "bison-000012" in note for note in notes)


def test_rows_in_double_are_refused(bison: Make, coco_root: Path) -> None:
    write(coco_root, "bison_annotations.cocoval2014.json", {"data": [bison_row(7, 1, 2)] * 2})
    with pytest.raises(UserError, match="ids of rows are there more than once: 7"):
        bison().ids()


@pytest.mark.parametrize("candidates", [[], [2], [1], [1, 3], [2, 2], [1, 2, 3]])
def test_a_row_needs_the_true_image_and_one_other(
    bison: Make, coco_root: Path, candidates: list[int]
) -> None:
    row = bison_row(7, 1, 2) | {"image_candidates": [{"image_id": i} for i in candidates]}
    write(coco_root, "bison_annotations.cocoval2014.json", {"data": [row]})
    with pytest.raises(UserError, match="bison_id 7 must have two candidates"):
        bison().ids()
