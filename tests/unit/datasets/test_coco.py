"""COCO in small files of the official form, and what can be wrong with them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sde_edit.cli import main
from sde_edit.errors import UserError
from tests.builders import picture
from tests.unit.coco_files import SIDE, SIZE, Make, N, name, official, write, write_captions

pytestmark = pytest.mark.usefixtures("own_cache")


# ------------------------------------------------------------------ examples


def test_an_example_is_an_image_and_its_first_caption(coco: Make) -> None:
    data = coco()
    assert sorted(data.ids()) == [f"{i:012d}" for i in range(1, N + 1)]
    example = data.load("000000000003")
    assert example.caption == "Picture 3, caption 0."
    assert example.target == ""
    assert example.truth is example.mask is example.reference is None
    assert example.image.shape == (SIDE, SIDE, 3)
    assert example.image.dtype == np.uint8
    half = Image.fromarray(np.array(picture(*SIZE, 3))).resize((21, 16), Image.Resampling.BICUBIC)
    expected = np.array(half.crop((2, 0, 18, 16))).astype(int)
    assert np.abs(example.image - expected).mean() < 3  # of JPEG


def test_blank_captions_do_not_count(coco: Make, coco_root: Path) -> None:
    content = official()
    for annotation in content["annotations"]:
        if annotation["id"] in (300, 301):
            annotation["caption"] = " \n"
    write_captions(coco_root, content)
    assert coco().load("000000000003").caption == "Picture 3, caption 2."


def test_val2014_has_its_own_files_and_the_same_ids(coco: Make, coco_root: Path) -> None:
    shutil.copytree(coco_root / "val2017", coco_root / "val2014")
    content = official()
    for image in content["images"]:
        new = f"COCO_val2014_{image['file_name']}"
        (coco_root / "val2014" / image["file_name"]).rename(coco_root / "val2014" / new)
        image["file_name"] = new
    write(coco_root, "captions_val2014.json", content)
    assert coco(split="val2014").ids() == coco().ids()
    assert coco(split="val2014").digest() == coco().digest()


def test_the_order_is_fixed_for_ever(coco: Make) -> None:
    assert [int(example_id) for example_id in coco().ids()] == ORDER


ORDER = [5, 2, 3, 7, 1, 6, 8, 4]


def test_the_order_of_the_file_does_not_matter(pairs: Make, coco_root: Path) -> None:
    before = pairs(n=4)
    first = before.ids(), before.digest()
    content = official()
    write_captions(coco_root, {key: content[key][::-1] for key in ("images", "annotations")})
    assert (pairs(n=4).ids(), pairs(n=4).digest()) == first


# -- the digest


def test_the_digest_is_of_what_was_chosen(coco: Make, coco_root: Path) -> None:
    data = coco(n=3)
    chosen, first = data.ids(), data.digest()
    others = [i for i in coco().ids() if i not in chosen]
    picture(*SIZE, 9).save(coco_root / "val2017" / f"{others[0]}.jpg")
    assert coco(n=3).digest() == first
    picture(*SIZE, 9).save(coco_root / "val2017" / f"{chosen[0]}.jpg")
    changed = coco(n=3).digest()
    content = official()
    for annotation in content["annotations"]:
        annotation["caption"] += " More."
    write_captions(coco_root, content)
    assert len({first, changed, coco(n=3).digest(), coco(n=4).digest()}) == 4


def test_the_digest_does_not_depend_on_the_place(
    pairs: Make, coco_root: Path, tmp_path: Path
) -> None:
    first = pairs().digest()
    for folder in ("annotations", "val2017"):
        shutil.copytree(coco_root / folder, tmp_path / "elsewhere" / folder)
    assert pairs(root=str(tmp_path / "elsewhere")).digest() == first


# -- the rest


def test_missing_data_says_where_it_is_to_be_had(pairs: Make, coco_root: Path) -> None:
    shutil.rmtree(coco_root / "annotations")
    data = pairs(source="Ask the librarian.")
    with pytest.raises(UserError, match=r"captions_val2017\.json.*Ask the librarian"):
        data.ids()
    status = data.status()
    assert status.found == 0
    assert "Ask the librarian" in status.remedy


def test_data_status_says_what_is_wrong_and_what_is_worth_knowing(coco_root: Path) -> None:
    picture(*SIZE, 2).convert("L").save(coco_root / "val2017" / name(2))
    command = ["data", "status", "data=coco", f"data.root={coco_root}", "data.n=null"]
    good = CliRunner().invoke(main, command)
    assert good.exit_code == 0, good.output
    grey = f"coco: 8 examples\n  1 grey images become RGB: {name(2)}\n"
    assert good.output == f"{grey}  images of 512x512\n"
    (coco_root / "val2017" / name(4)).unlink()
    bad = CliRunner().invoke(main, command)
    assert bad.exit_code == 1
    assert f"1 images are not in {coco_root / 'val2017'}: {name(4)}" in bad.output
    assert "cocodataset.org" in bad.output


def test_a_missing_folder_of_images_is_missing_images(pairs: Make, coco_root: Path) -> None:
    shutil.rmtree(coco_root / "val2017")
    with pytest.raises(UserError, match=r"images are not in .*val2017"):
        pairs().ids()
    assert pairs().status().found == 0


@pytest.mark.parametrize("example_id", ["", "../000000000001", "3", "000000000099", "bison-1"])
def test_other_ids_are_refused(pairs: Make, example_id: str) -> None:
    with pytest.raises(UserError, match="no example"):
        pairs().load(example_id)


@pytest.mark.parametrize(("settings", "message"), [
    ({"n": 0}, "data.n=0"),
    ({"resolution": 4}, "data.resolution=4"),
    ({"split": "val2015"}, "'val2014'"),
    ({"split": "../val2017"}, "'val2014'"),
    ({"fit": "squash"}, "'exact', 'crop', 'pad' or 'keep'"),
    ({"seed": 3}, "seed"),
])  # fmt: skip
def test_settings_are_refused(pairs: Make, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        pairs(**settings)
