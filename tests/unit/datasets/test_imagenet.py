"""ImageNet in small files of its official layouts, and what can be wrong with them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy.io import savemat

from sde_edit.cli import main
from sde_edit.datasets.imagenet import ImageNet
from sde_edit.errors import UserError
from sde_edit.registry import build

SIDE = 16
LION, TIGER, COCK = "n02129165", "n02129604", "n01514668"
NUMBERS = {LION: 58, TIGER: 12, COCK: 391}  # ILSVRC2012_ID
LIONS, TIGERS = [3, 4, 7, 9, 12], [1, 2, 5, 8, 11]  # numbers of validation images
Make = Callable[..., ImageNet]
pytestmark = pytest.mark.usefixtures("own_cache")


def stem(i: int) -> str:
    return f"ILSVRC2012_val_{i:08d}"


def picture(i: int, width: int = SIDE, height: int = SIDE) -> Image.Image:
    return Image.new("RGB", (width, height), (10 * i, 200, 40))


def number_of(pixels: Any) -> int:
    """Which picture it is."""
    return round(float(pixels[..., 0].mean()) / 10)


def write_class(folder: Path, numbers: list[int]) -> None:
    folder.mkdir(parents=True)
    for i in numbers:
        picture(i).save(folder / f"{stem(i)}.JPEG", quality=95)


def write_devkit(root: Path) -> Path:
    """The two files that say which class each validation image is of, in the official form."""
    devkit = root / "ILSVRC2012_devkit_t12" / "data"
    devkit.mkdir(parents=True)
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(number, wnid, "words", 0) for wnid, number in NUMBERS.items()]
    savemat(devkit / "meta.mat", {"synsets": np.array(rows, dtype=kind)}, do_compression=True)
    wnids = [LION if i in LIONS else TIGER if i in TIGERS else COCK for i in range(1, 15)]
    lines = "".join(f"{NUMBERS[wnid]}\n" for wnid in wnids)
    (devkit / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)
    return devkit


def write_flat(root: Path) -> None:
    write_class(root / "val", [*LIONS, *TIGERS, 14])
    write_devkit(root)


def write_split(root: Path) -> None:
    write_class(root / "val" / LION, LIONS)
    write_class(root / "val" / TIGER, TIGERS)


def write_bare(root: Path) -> None:
    write_class(root / LION, LIONS)
    write_class(root / TIGER, TIGERS)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_split(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    write_flat(tmp_path / "flat")
    return tmp_path / "flat"


def made(root: Path, **settings: Any) -> ImageNet:
    given = {"root": str(root), "resolution": SIDE, "split": "val"} | settings
    data = build("datasets", "imagenet", given)
    assert isinstance(data, ImageNet)
    return data


@pytest.fixture
def make(root: Path) -> Make:
    return lambda **settings: made(root, **settings)


# ------------------------------------------------------------------ examples


def test_an_example_is_an_image_to_become_the_other_class(make: Make) -> None:
    data = make()
    assert sorted(data.ids()) == [stem(i) for i in LIONS]
    for example_id in data.ids():
        example = data.load(example_id)
        assert (example.caption, example.target) == (f"{LION} lion", f"{TIGER} tiger")
        assert number_of(example.image) == int(example_id[-8:])
        assert example.image.shape == (SIDE, SIDE, 3)
        assert example.truth is example.mask is None


@pytest.mark.parametrize("write", [write_split, write_bare, write_flat])
def test_layouts_hold_the_same_examples(tmp_path: Path, root: Path, write: Any) -> None:
    write(tmp_path / "other")
    data = made(tmp_path / "other")
    assert data.status().problems == []
    assert data.digest() == made(root).digest()


def test_the_flat_set_goes_by_the_number_in_the_name(flat: Path) -> None:
    """An image that is not there must not shift the classes of those after it."""
    (flat / "val" / f"{stem(1)}.JPEG").unlink()
    assert sorted(made(flat).ids()) == [stem(i) for i in LIONS]


def test_the_train_split_lies_in_its_folder(root: Path) -> None:
    write_class(root / "train" / LION, [21, 22])
    write_class(root / "train" / TIGER, [23, 24])
    assert sorted(made(root, split="train").ids()) == [stem(21), stem(22)]
    with pytest.raises(UserError, match=rf"no images of {COCK} cock in {root}/train/{COCK}\."):
        made(root, split="train", pair=f"{COCK}-{TIGER}").ids()


def write_labelled(root: Path) -> None:
    """Files of all classes in one folder, whose names end in the class."""
    (root / "val").mkdir(parents=True)
    for wnid, numbers in ((LION, LIONS), (TIGER, TIGERS), (COCK, [14])):
        for i in numbers:
            picture(i).save(root / "val" / f"{stem(i)}_{wnid}.JPEG", quality=95)


def test_names_that_end_in_the_class_need_no_kit_and_are_the_official_set(
    flat: Path, tmp_path: Path
) -> None:
    write_labelled(tmp_path / "labelled")
    data = made(tmp_path / "labelled")
    assert data.ids() == made(flat).ids()
    assert data.digest() == made(flat).digest()
    assert not data.status().problems


def test_training_images_may_lie_in_one_folder_too(tmp_path: Path) -> None:
    for wnid, numbers in ((LION, [10026, 7]), (TIGER, [1])):
        for i in numbers:
            (tmp_path / "train").mkdir(exist_ok=True)
            picture(3).save(tmp_path / "train" / f"{wnid}_{i}_{wnid}.JPEG")
    picture(3).save(tmp_path / "train" / f"mine_{LION}.JPEG")  # not a name of the set
    data = made(tmp_path, split="train")
    assert sorted(data.ids()) == [f"{LION}_10026", f"{LION}_7"]


def test_names_tell_the_splits_apart_in_one_folder(tmp_path: Path) -> None:
    for wnid in (LION, TIGER):
        for name in (f"{wnid}_7", stem(3)):
            picture(3).save(tmp_path / f"{name}_{wnid}.JPEG")
    assert made(tmp_path, split="train").ids() == [f"{LION}_7"]
    assert made(tmp_path, split="val").ids() == [stem(3)]


def test_an_image_with_and_without_its_class_is_refused(flat: Path) -> None:
    picture(3).save(flat / "val" / f"{stem(3)}_{LION}.JPEG")
    with pytest.raises(UserError, match=rf"share their name.*: {stem(3)}_{LION}\.JPEG; {stem(3)}"):
        made(flat).ids()


# -- references


def references(data: ImageNet) -> list[int]:
    return [number_of(data.load(example_id).reference) for example_id in data.ids()]


def test_references_are_the_whole_target_class_once(make: Make) -> None:
    data = make()
    assert sorted(references(data)) == TIGERS
    assert references(data) != TIGERS  # in an order of their own
    assert data.status().notes == [
        f"5 images of {LION} lion", f"references: 5 of 5 images of {TIGER} tiger",
    ]  # fmt: skip


def test_fewer_examples_have_the_first_references(make: Make) -> None:
    assert references(make(n=2)) == references(make())[:2]
    assert make(n=2).status().notes[-1] == f"references: 2 of 5 images of {TIGER} tiger"


def test_a_smaller_target_class_comes_again_and_it_is_said(make: Make, root: Path) -> None:
    for i in TIGERS[:3]:
        (root / "val" / TIGER / f"{stem(i)}.JPEG").unlink()
    found = references(make())
    assert sorted(found[:2]) == TIGERS[3:]
    assert found == (found[:2] * 3)[:5]
    note = f"references: 2 of 2 images of {TIGER} tiger, some of them more than once"
    assert make().status().notes[-1] == note
    assert make(n=2).status().notes[-1] == f"references: 2 of 2 images of {TIGER} tiger"


# -- order and digest


def test_the_first_n_are_the_first_n_of_more_and_the_seed_orders(make: Make) -> None:
    assert make(n=3).ids() == make().ids()[:3]
    assert make(pairs_seed=1).ids() != make().ids()
    assert references(make(pairs_seed=1)) != references(make())


def test_the_digest_covers_pair_order_and_contents(make: Make, root: Path) -> None:
    changes = [{}, {"pair": f"{TIGER}-{LION}"}, {"pairs_seed": 1}, {"n": 2}]
    before = [make(**change).digest() for change in changes]
    picture(99).save(root / "val" / TIGER / f"{stem(1)}.JPEG")
    assert len({*before, make().digest()}) == len(changes) + 1


# -- files


@pytest.mark.parametrize("form", ["PNG", "L", "CMYK", "large"])
def test_odd_files_load(make: Make, root: Path, form: str) -> None:
    """Some of the official .JPEG files are PNG, grey, or CMYK."""
    path = root / "val" / LION / f"{stem(3)}.JPEG"
    plain = picture(3, 40, 30) if form == "large" else picture(3)
    mode = form if form in ("L", "CMYK") else "RGB"
    plain.convert(mode).save(path, format="PNG" if form == "PNG" else "JPEG")
    data = make()
    assert data.status().problems == []
    expected = np.array(plain.convert(mode).convert("RGB").resize((SIDE, SIDE)), dtype=int)
    assert np.abs(data.load(stem(3)).image - expected).max() < 8
    greys = [note for note in data.status().notes if "grey" in note]
    assert greys == ([f"1 grey images become RGB: {path.name}"] if form == "L" else [])


def test_a_file_that_is_no_image_is_named(make: Make, root: Path) -> None:
    (root / "val" / TIGER / f"{stem(5)}.JPEG").write_bytes(b"no image")
    (problem,) = make().status().problems
    assert stem(5) in problem


def test_names_in_double_are_refused(make: Make, root: Path) -> None:
    picture(3).save(root / "val" / LION / f"{stem(3)}.png")
    with pytest.raises(UserError, match=rf"share their name.*: {stem(3)}\.JPEG; {stem(3)}\.png"):
        make().ids()


# ------------------------------------------------------------------ what can be wrong


@pytest.mark.parametrize(("pair", "message"), [
    ("lion-tiger", f"'lion' is {LION}. 'tiger' is {TIGER}."),
    (f"crane-{TIGER}", "'crane' is n02012849 or n03126707."),
    (f"king_of_beasts-{TIGER}", f"'king_of_beasts' is {LION}."),
    (LION, "must be two wnids, SOURCE-TARGET"),
    (f"../{LION}-{TIGER}", "must be two wnids, SOURCE-TARGET"),
    (f"{LION}-{TIGER}\n", "must be two wnids, SOURCE-TARGET"),
    (f"{LION}-{LION}", "the same class"),
])  # fmt: skip
def test_pairs_are_refused(make: Make, pair: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        make(pair=pair)
    assert message in str(caught.value)


def test_a_wnid_without_a_name_is_refused(make: Make) -> None:
    (problem,) = make(pair=f"{LION}-n02129605").status().problems
    assert "n02129605 is no class of ImageNet. The nearest number is n02129604 tiger" in problem


def test_a_missing_class_says_where_it_belongs(make: Make, root: Path, tmp_path: Path) -> None:
    data = make(pair=f"{LION}-{COCK}", source="Ask the librarian.")
    with pytest.raises(UserError, match=rf"no images of {COCK} cock in {root}/val/{COCK}\."):
        data.ids()
    assert "Ask the librarian" in data.status().remedy
    status = made(tmp_path / "nowhere").status()
    assert status.found == 0
    assert f"{tmp_path}/nowhere/val/{LION} or {tmp_path}/nowhere/{LION}" in status.problems[0]


def test_more_than_there_are_is_refused(make: Make, root: Path) -> None:
    with pytest.raises(UserError, match=f"data.n=6: there are 5 examples in {root}/val/{LION}"):
        make(n=6).ids()


@pytest.mark.parametrize("file", ["meta.mat", "ILSVRC2012_validation_ground_truth.txt"])
@pytest.mark.parametrize("content", [None, b"", b"no such thing", bytes(200)])
def test_a_damaged_development_kit_is_named(flat: Path, file: str, content: bytes | None) -> None:
    path = flat / "ILSVRC2012_devkit_t12" / "data" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    problems = made(flat).status().problems
    empty = content == b"" and file != "meta.mat"
    assert ("does not say" if empty else f"{path}: cannot be used") in problems[0]


def test_a_table_cut_short_is_named(flat: Path) -> None:
    path = flat / "ILSVRC2012_devkit_t12" / "data" / "meta.mat"
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        assert f"{path}: cannot be used" in made(flat).status().problems[0]


def test_the_flat_set_needs_its_development_kit(flat: Path) -> None:
    shutil.rmtree(flat / "ILSVRC2012_devkit_t12")
    with pytest.raises(UserError, match=r"meta\.mat: cannot be used.*ILSVRC2012_devkit_t12\.tar"):
        made(flat).ids()


def test_an_image_that_the_kit_does_not_know_is_named(flat: Path) -> None:
    picture(3).save(flat / "val" / f"{stem(15)}.JPEG")
    with pytest.raises(UserError, match=rf"1 images whose class .* does not say: {stem(15)}"):
        made(flat).ids()


def test_data_status(root: Path) -> None:
    command = ["data", "status", "data=imagenet", f"data.root={root}", "data.split=val"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert result.output == (
        f"imagenet: 5 examples\n  5 images of {LION} lion\n"
        f"  references: 5 of 5 images of {TIGER} tiger\n  images of 256x256\n"
    )
