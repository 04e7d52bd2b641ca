"""COCO and COCO-BISON in small files of the official form, and what can be wrong with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sde_edit.cli import main
from sde_edit.datasets.coco import Coco
from sde_edit.datasets.coco_bison import CocoBison
from sde_edit.errors import UserError
from sde_edit.imaging.coco import read_captions
from sde_edit.registry import build

SIDE = 16
N = 8


pytestmark = pytest.mark.usefixtures("own_cache")


def name(image: int) -> str:
    return f"{image:012d}.jpg"


def picture(seed: int, width: int = 24, height: int = 18) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width].astype(float)
    layers = (x * 255 / width, y * 255 / height, np.full_like(x, 25.0 * seed))
    return Image.fromarray(np.stack(layers, axis=-1).astype(np.uint8))


def official(images: Sequence[int] = range(1, N + 1)) -> dict[str, Any]:
    """Five captions of each image; annotations lie in no order, as in the official files."""
    return {
        "info": {"description": "COCO 2017 Dataset"},
        "licenses": [],
        "images": [
            {"license": 4, "file_name": name(i), "height": 18, "width": 24, "id": i} for i in images
        ],
        "annotations": [
            {"image_id": i, "id": 100 * i + k, "caption": f"Picture {i}, caption {k}. \n"}
            for k in (3, 1, 0, 4, 2)
            for i in images
        ],
    }


def bison_row(bison_id: int, other: int, true: int) -> dict[str, Any]:
    return {
        "bison_id": bison_id,
        "caption_id": 100 * true,
        "caption": f"Target {true}. ",
        "true_image_id": true,
        "image_candidates": [
            {"image_id": i, "image_filename": f"COCO_val2014_{name(i)}"}
            for i in ((other, true) if bison_id % 2 else (true, other))
        ],
    }


def write(root: Path, file: str, content: Any) -> None:
    (root / "annotations" / file).write_text(json.dumps(content))


def write_captions(root: Path, content: dict[str, Any]) -> None:
    write(root, "captions_val2017.json", content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("annotations", "val2017"):
        (tmp_path / folder).mkdir()
    write_captions(tmp_path, official())
    rows = [bison_row(10 + i, i, i + 1) for i in range(1, N)]
    info = {"source": "cocoval", "split": "2014"}
    write(tmp_path, "bison_annotations.cocoval2014.json", {"info": info, "data": rows})
    for i in range(1, N + 1):
        picture(i).save(tmp_path / "val2017" / name(i), quality=95)
    return tmp_path


Make = Callable[..., Any]


@pytest.fixture(params=["coco", "coco_bison"])
def make(request: pytest.FixtureRequest, root: Path) -> Make:
    return lambda **settings: build(
        "datasets", request.param, {"root": str(root), "resolution": SIDE} | settings
    )


@pytest.fixture
def coco(root: Path) -> Callable[..., Coco]:
    return lambda **settings: build(
        "datasets", "coco", {"root": str(root), "resolution": SIDE} | settings
    )


@pytest.fixture
def bison(root: Path) -> Callable[..., CocoBison]:
    return lambda **settings: build(
        "datasets", "coco_bison", {"root": str(root), "resolution": SIDE} | settings
    )


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
    half = Image.fromarray(np.array(picture(3))).resize((21, 16), Image.Resampling.BICUBIC)
    expected = np.array(half.crop((2, 0, 18, 16))).astype(int)
    assert np.abs(example.image - expected).mean() < 3  # of JPEG


def test_a_row_of_bison_is_an_edit(bison: Make, coco: Make) -> None:
    data = bison()
    assert sorted(data.ids()) == [f"bison-{10 + i:06d}" for i in range(1, N)]
    example, plain = data.load("bison-000013"), coco()
    np.testing.assert_array_equal(example.image, plain.load("000000000003").image)
    np.testing.assert_array_equal(example.reference, plain.load("000000000004").image)
    assert example.caption == "Picture 3, caption 0."
    assert (example.target, example.prompt) == ("Target 4.", "Target 4.")
    assert (example.truth, example.mask) == (None, None)


def test_blank_captions_do_not_count(coco: Make, root: Path) -> None:
    content = official()
    for annotation in content["annotations"]:
        if annotation["id"] in (300, 301):
            annotation["caption"] = " \n"
    write_captions(root, content)
    assert coco().load("000000000003").caption == "Picture 3, caption 2."


def test_val2014_has_its_own_files_and_the_same_ids(coco: Make, root: Path) -> None:
    shutil.copytree(root / "val2017", root / "val2014")
    content = official()
    for image in content["images"]:
        new = f"COCO_val2014_{image['file_name']}"
        (root / "val2014" / image["file_name"]).rename(root / "val2014" / new)
        image["file_name"] = new
    write(root, "captions_val2014.json", content)
    assert coco(split="val2014").ids() == coco().ids()
    assert coco(split="val2014").digest() == coco().digest()


# -- the order


def test_the_first_n_are_the_first_of_more(make: Make) -> None:
    every = make().ids()
    for n in range(1, len(every) + 1):
        assert make(n=n).ids() == every[:n]
    assert len(set(every)) == len(every)


def test_the_seed_draws(make: Make) -> None:
    orders = {tuple(make(pairs_seed=seed).ids()) for seed in range(5)}
    assert len(orders) == 5
    assert len({tuple(sorted(order)) for order in orders}) == 1


def test_the_order_is_fixed_for_ever(coco: Make) -> None:
    assert [int(example_id) for example_id in coco().ids()] == ORDER


ORDER = [5, 2, 3, 7, 1, 6, 8, 4]


def test_the_order_of_the_file_does_not_matter(make: Make, root: Path) -> None:
    before = make(n=4)
    first = before.ids(), before.digest()
    content = official()
    write_captions(root, {key: content[key][::-1] for key in ("images", "annotations")})
    assert (make(n=4).ids(), make(n=4).digest()) == first


def test_more_than_there_are_is_refused(make: Make) -> None:
    data = make(n=50)
    for message in (data.status().problems[0], str(_error(data.ids))):
        assert "data.n=50" in message
        assert "data.n=null" in message


def _error(call: Callable[[], object]) -> UserError:
    with pytest.raises(UserError) as caught:
        call()
    return caught.value


# -- the digest


def test_the_digest_is_of_what_was_chosen(coco: Make, root: Path) -> None:
    data = coco(n=3)
    chosen, first = data.ids(), data.digest()
    others = [i for i in coco().ids() if i not in chosen]
    picture(9).save(root / "val2017" / f"{others[0]}.jpg")
    assert coco(n=3).digest() == first
    picture(9).save(root / "val2017" / f"{chosen[0]}.jpg")
    changed = coco(n=3).digest()
    content = official()
    for annotation in content["annotations"]:
        annotation["caption"] += " More."
    write_captions(root, content)
    assert len({first, changed, coco(n=3).digest(), coco(n=4).digest()}) == 4


def test_the_digest_does_not_depend_on_the_place(make: Make, root: Path, tmp_path: Path) -> None:
    first = make().digest()
    for folder in ("annotations", "val2017"):
        shutil.copytree(root / folder, tmp_path / "elsewhere" / folder)
    assert make(root=str(tmp_path / "elsewhere")).digest() == first


def test_the_digest_of_bison_covers_the_references(bison: Make, root: Path) -> None:
    first = bison().digest()
    picture(9).save(root / "val2017" / name(N))  # the true image of a row, edited in none
    changed = bison().digest()
    rows = [bison_row(10 + i, i, i + 1) | {"caption": "Other."} for i in range(1, N)]
    write(root, "bison_annotations.cocoval2014.json", {"data": rows})
    assert len({first, changed, bison().digest()}) == 3


# -- images


def test_grey_images_become_rgb_and_are_counted(coco: Make, root: Path) -> None:
    picture(2).convert("L").save(root / "val2017" / name(2))
    status = coco().status()
    assert (status.found, list(status.problems)) == (N, [])
    assert list(status.notes) == [f"1 grey images become RGB: {name(2)}"]
    image = coco().load("000000000002").image
    assert image.shape == (SIDE, SIDE, 3)
    assert (image[..., 0] == image[..., 2]).all()


def test_cmyk_becomes_rgb(coco: Make, root: Path) -> None:
    picture(2).convert("CMYK").save(root / "val2017" / name(2), quality=95)
    assert not coco().status().problems
    plain = np.array(picture(2).resize((21, 16), Image.Resampling.BICUBIC).crop((2, 0, 18, 16)))
    assert np.abs(coco().load("000000000002").image - plain.astype(int)).mean() < 6


def test_an_absent_image_is_refused_by_name(make: Make, root: Path) -> None:
    (root / "val2017" / name(4)).unlink()
    data = make()
    message = str(_error(data.ids))
    assert f"1 images are not in {root / 'val2017'}: {name(4)}" in message
    assert "docs/data.md" in message
    status = data.status()
    assert status.found < len(json.loads(data.caption_file.read_text())["images"])
    assert name(4) in status.problems[0]
    assert status.remedy


def test_an_absent_image_that_was_not_chosen_is_no_matter(coco: Make, root: Path) -> None:
    last = coco().ids()[-1]
    (root / "val2017" / f"{last}.jpg").unlink()
    assert coco(n=N - 1).status().found == N - 1
    assert len(coco(n=N - 1).digest()) == 64


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_file_that_is_no_image_is_found_by_its_header(
    make: Make, root: Path, content: bytes
) -> None:
    (root / "val2017" / name(4)).write_bytes(content)
    (problem,) = make().status().problems
    assert problem.startswith("1 images cannot be used")
    assert name(4) in problem


def test_a_file_cut_short_is_named_when_it_is_loaded(make: Make, root: Path) -> None:
    path = root / "val2017" / name(4)
    path.write_bytes(path.read_bytes()[:-200])
    bad = {"000000000004", "bison-000013", "bison-000014"}  # 4 is the image of 14, the true of 13
    for example_id in bad & set(make().ids()):
        with pytest.raises(UserError, match=rf"{name(4)}: cannot be read as an image"):
            make().load(example_id)


def test_exact_refuses_other_sizes(coco: Make, root: Path) -> None:
    data = coco(fit="exact")
    with pytest.raises(UserError, match=r"is 24x18, not 16x16.*data\.fit=crop"):
        data.load("000000000001")
    assert "8 images cannot be used" in data.status().problems[0]
    for i in range(1, N + 1):
        picture(i, SIDE, SIDE).save(root / "val2017" / name(i))
    assert not coco(fit="exact").status().problems


# -- annotations


def test_images_without_a_caption_are_left_out_and_counted(make: Make, root: Path) -> None:
    content = official()
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 3]
    write_captions(root, content)
    data = make()
    assert not {"000000000003", "bison-000013"} & set(data.ids())
    status = data.status()
    assert not status.problems
    assert status.found == len(data.ids())
    assert status.notes[0].startswith("1 ")
    assert "left out" in status.notes[0]


def test_captions_of_images_that_are_not_listed_are_counted(coco: Make, root: Path) -> None:
    content = official()
    content["images"] = [image for image in content["images"] if image["id"] != 3]
    write_captions(root, content)
    assert len(coco().ids()) == N - 1
    assert list(coco().status().notes) == ["5 captions of images that the file does not list"]


def test_rows_whose_images_are_not_listed_are_left_out_and_counted(bison: Make, root: Path) -> None:
    content = official()
    content["images"] = [image for image in content["images"] if image["id"] != 3]
    write_captions(root, content)
    data = bison()
    assert not {"bison-000012", "bison-000013"} & set(data.ids())
    notes = data.status().notes
    assert any("no caption" in note and "bison-000013" in note for note in notes)
    assert any("true image" in note and "bison-000012" in note for note in notes)


def test_no_example_at_all_is_refused(make: Make, root: Path) -> None:
    write_captions(root, {"images": [], "annotations": []})
    assert make().status().found == 0
    assert "there are 0 examples" in make().status().problems[0]
    with pytest.raises(UserError, match="there are 0 examples"):
        make().ids()


@pytest.mark.parametrize("file_name", [
    "../secret.jpg", "/etc/passwd", "a/b.jpg", "..", ".", "", "a\\b.jpg", "a\0.jpg", "a.jpg/",
])  # fmt: skip
def test_a_name_that_leaves_the_folder_is_refused(make: Make, root: Path, file_name: str) -> None:
    content = official()
    content["images"][2]["file_name"] = file_name
    write_captions(root, content)
    with pytest.raises(UserError, match="of image 3 must be a plain name"):
        make().ids()
    assert "of image 3" in make().status().problems[0]


@pytest.mark.parametrize("what", ["images", "annotations"])
def test_ids_in_double_are_refused(make: Make, root: Path, what: str) -> None:
    content = official()
    content[what].append(dict(content[what][2]))
    write_captions(root, content)
    shown = content[what][2]["id"]
    with pytest.raises(UserError, match=f"ids of {what} are there more than once: {shown}"):
        make().ids()


def test_rows_in_double_are_refused(bison: Make, root: Path) -> None:
    write(root, "bison_annotations.cocoval2014.json", {"data": [bison_row(7, 1, 2)] * 2})
    with pytest.raises(UserError, match="ids of rows are there more than once: 7"):
        bison().ids()


@pytest.mark.parametrize("candidates", [[], [2], [1], [1, 3], [2, 2], [1, 2, 3]])
def test_a_row_needs_the_true_image_and_one_other(
    bison: Make, root: Path, candidates: list[int]
) -> None:
    row = bison_row(7, 1, 2) | {"image_candidates": [{"image_id": i} for i in candidates]}
    write(root, "bison_annotations.cocoval2014.json", {"data": [row]})
    with pytest.raises(UserError, match="bison_id 7 must have two candidates"):
        bison().ids()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"images": 3, "annotations": []}', "\xff"])
@pytest.mark.parametrize("file", ["captions_val2017.json", "bison_annotations.cocoval2014.json"])
def test_another_file_is_refused_by_name(bison: Make, root: Path, file: str, text: str) -> None:
    (root / "annotations" / file).write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=file):
        bison().ids()
    assert file in bison().status().problems[0]


def test_an_entry_of_another_form_is_named(root: Path) -> None:
    content = official()
    content["annotations"][1]["image_id"] = "one"
    write_captions(root, content)
    with pytest.raises(UserError, match=r"annotations\.1\.image_id"):
        read_captions(root / "annotations" / "captions_val2017.json")


# -- the rest


def test_missing_data_says_where_it_is_to_be_had(make: Make, root: Path) -> None:
    shutil.rmtree(root / "annotations")
    data = make(source="Ask the librarian.")
    with pytest.raises(UserError, match=r"captions_val2017\.json.*Ask the librarian"):
        data.ids()
    status = data.status()
    assert status.found == 0
    assert "Ask the librarian" in status.remedy


def test_data_status_says_what_is_wrong_and_what_is_worth_knowing(root: Path) -> None:
    picture(2).convert("L").save(root / "val2017" / name(2))
    command = ["data", "status", "data=coco", f"data.root={root}", "data.n=null"]
    good = CliRunner().invoke(main, command)
    assert good.exit_code == 0, good.output
    assert good.output == f"coco: 8 examples\n  1 grey images become RGB: {name(2)}\n"
    (root / "val2017" / name(4)).unlink()
    bad = CliRunner().invoke(main, command)
    assert bad.exit_code == 1
    assert f"1 images are not in {root / 'val2017'}: {name(4)}" in bad.output
    assert "cocodataset.org" in bad.output


def test_a_missing_folder_of_images_is_missing_images(make: Make, root: Path) -> None:
    shutil.rmtree(root / "val2017")
    with pytest.raises(UserError, match=r"images are not in .*val2017"):
        make().ids()
    assert make().status().found == 0


@pytest.mark.parametrize("example_id", ["", "../000000000001", "3", "000000000099", "bison-1"])
def test_other_ids_are_refused(make: Make, example_id: str) -> None:
    with pytest.raises(UserError, match="no example"):
        make().load(example_id)


@pytest.mark.parametrize(("settings", "message"), [
    ({"n": 0}, "data.n=0"),
    ({"resolution": 4}, "data.resolution=4"),
    ({"split": "val2015"}, "'val2014'"),
    ({"split": "../val2017"}, "'val2014'"),
    ({"fit": "squash"}, "'exact' or 'crop'"),
    ({"seed": 3}, "seed"),
])  # fmt: skip
def test_settings_are_refused(make: Make, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**settings)
