"""The annotation files of COCO, and what can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sde_edit.errors import UserError
from sde_edit.imaging.coco import read_captions
from tests.unit.coco_files import Make, N, official, write_captions

pytestmark = pytest.mark.usefixtures("own_cache")


def test_images_without_a_caption_are_left_out_and_counted(pairs: Make, coco_root: Path) -> None:
    content = official()
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 3]
    write_captions(coco_root, content)
    data = pairs()
    assert not {"000000000003", "bison-000013"} & set(data.ids())
    status = data.status()
    assert not status.problems
    assert status.found == len(data.ids())
    assert status.notes[0].startswith("1 ")
    assert "left out" in status.notes[0]


def test_captions_of_images_that_are_not_listed_are_counted(coco: Make, coco_root: Path) -> None:
    content = official()
    content["images"] = [image for image in content["images"] if image["id"] != 3]
    write_captions(coco_root, content)
    assert len(coco().ids()) == N - 1
    assert list(coco().status().notes) == ["5 captions of images that the file does not list"]


def test_no_example_at_all_is_refused(pairs: Make, coco_root: Path) -> None:
    write_captions(coco_root, {"images": [], "annotations": []})
    assert pairs().status().found == 0
    assert "there are 0 examples" in pairs().status().problems[0]
    with pytest.raises(UserError, match="there are 0 examples"):
        pairs().ids()


@pytest.mark.parametrize("file_name", [
    "../secret.jpg", "/etc/passwd", "a/b.jpg", "..", ".", "", "a\\b.jpg", "a\0.jpg", "a.jpg/",
])  # fmt: skip
def test_a_name_that_leaves_the_folder_is_refused(
    pairs: Make, coco_root: Path, file_name: str
) -> None:
    content = official()
    content["images"][2]["file_name"] = file_name
    write_captions(coco_root, content)
    with pytest.raises(UserError, match="of image 3 must be a plain name"):
        pairs().ids()
    assert "of image 3" in pairs().status().problems[0]


@pytest.mark.parametrize("what", ["images", "annotations"])
def test_ids_in_double_are_refused(pairs: Make, coco_root: Path, what: str) -> None:
    content = official()
    content[what].append(dict(content[what][2]))
    write_captions(coco_root, content)
    shown = content[what][2]["id"]
    with pytest.raises(UserError, match=f"ids of {what} are there more than once: {shown}"):
        pairs().ids()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"images": 3, "annotations": []}', "\xff"])
@pytest.mark.parametrize("file", ["captions_val2017.json", "bison_annotations.cocoval2014.json"])
def test_another_file_is_refused_by_name(
    bison: Make, coco_root: Path, file: str, text: str
) -> None:
    (coco_root / "annotations" / file).write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=file):
        bison().ids()
    assert file in bison().status().problems[0]


def test_an_entry_of_another_form_is_named(coco_root: Path) -> None:
    content = official()
    content["annotations"][1]["image_id"] = "one"
    write_captions(coco_root, content)
    with pytest.raises(UserError, match=r"annotations\.1\.image_id"):
        read_captions(coco_root / "annotations" / "captions_val2017.json")
