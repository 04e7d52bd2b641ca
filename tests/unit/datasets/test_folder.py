"""Folders of images, masks, captions and hints."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sde_edit.datasets.folder import Folder
from sde_edit.errors import UserError
from sde_edit.registry import build
from tests.builders import box_mask, picture

pytestmark = pytest.mark.usefixtures("own_cache")
SIDE = 32


# ------------------------------------------------------------------ folders

Make = Callable[..., Folder]
BOX = np.array(box_mask(), np.float32) / 255


def test_folder_loads_image_mask_and_truth(make_folder: Make) -> None:
    data = make_folder()
    assert data.ids() == ["a", "b"]
    example = data.load("b")
    np.testing.assert_array_equal(example.image, np.array(picture(seed=1)))
    np.testing.assert_array_equal(example.truth, example.image)
    np.testing.assert_array_equal(example.mask, BOX)
    assert example.mask.dtype == np.float32
    assert example.caption == ""
    example.image[:] = 0  # a copy: the truth stays
    assert example.truth.any()


def test_folder_polarity(make_folder: Make) -> None:
    np.testing.assert_array_equal(make_folder(hole="black").load("a").mask, 1 - BOX)


def test_folder_mask_sets(make_folder: Make, image_folder: Path) -> None:
    (image_folder / "masks" / "large").mkdir()
    for stem in ("a", "b"):
        box_mask(white=(0, 0, 32, 16)).save(image_folder / "masks" / "large" / f"{stem}.png")
    assert make_folder(masks="large").load("a").mask.mean() == 0.5
    assert make_folder(masks="large").digest() != make_folder().digest()


@pytest.mark.parametrize("masks", ["../images", "/etc", "x/../.."])
def test_folder_mask_set_stays_below_its_root(make_folder: Make, masks: str) -> None:
    with pytest.raises(UserError, match=r"data\.masks=.*below data\.mask_root"):
        make_folder(masks=masks)


@pytest.mark.parametrize(("settings", "message"), [
    ({"hole": "grey"}, "'black' or 'white'"),
    ({"threshold": 1.0}, "data.threshold=1.0"),
    ({"threshold": -0.1}, "data.threshold=-0.1"),
    ({"resolution": 0}, "data.resolution=0"),
    ({"resolution": "512"}, "resolution"),
    ({"pairing": "cycle"}, "'stem' or 'sorted'"),
    ({"fits": "crop"}, "Did you mean 'fit'"),
])  # fmt: skip
def test_folder_refuses_settings(make_folder: Make, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_folder(**settings)


def test_folder_needs_the_polarity() -> None:
    with pytest.raises(UserError, match="hole"):
        build("datasets", "folder", {"images": "x", "mask_root": "y", "resolution": 8})


# -- what image files may be


def replace_a(image_folder: Path, image: Image.Image, name: str = "a.png", **options: Any) -> None:
    (image_folder / "images" / "a.png").unlink()
    image.save(image_folder / "images" / name, **options)


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 97), (20, 30), (33, 32)])
def test_folder_crop_keeps_mask_and_image_together(
    make_folder: Make, image_folder: Path, width: int, height: int
) -> None:
    """Where the image is bright, the mask is white; after fitting it still is."""
    both = box_mask(width, height, (width // 4, height // 4, width // 2, height))
    replace_a(image_folder, both)
    both.save(image_folder / "masks" / "a.png")
    example = make_folder(fit="crop").load("a")
    assert example.image.shape == (SIDE, SIDE, 3)
    assert ((example.image[..., 0] > 127) == (example.mask > 0)).mean() > 0.98


def test_folder_crop_takes_a_mask_of_the_final_size(make_folder: Make, image_folder: Path) -> None:
    replace_a(image_folder, picture(96, 64))
    np.testing.assert_array_equal(make_folder(fit="crop").load("a").mask, BOX)


@pytest.mark.parametrize("size", [(31, 32), (64, 96), (16, 16)])
def test_folder_refuses_a_mask_of_another_size(
    make_folder: Make, image_folder: Path, size: tuple[int, int]
) -> None:
    replace_a(image_folder, picture(96, 64))
    box_mask(*size).save(image_folder / "masks" / "a.png")
    data = make_folder(fit="crop")
    with pytest.raises(
        UserError, match=rf"masks.a\.png: is {size[0]}x{size[1]}, its image .*96x64"
    ):
        data.load("a")
    assert "1 pairs cannot be used" in data.status().problems[0]


# -- hints


@pytest.fixture
def hints(image_folder: Path) -> str:
    (image_folder / "hints").mkdir()
    for seed, name in enumerate(("a.png", "b.bmp")):
        picture(seed=seed + 5).save(image_folder / "hints" / name)
    return str(image_folder / "hints")


def test_folder_loads_the_hint_of_the_same_name(
    make_folder: Make, image_folder: Path, hints: str
) -> None:
    assert make_folder().load("b").hint is None
    data = make_folder(hints=hints)
    np.testing.assert_array_equal(data.load("b").hint, np.array(picture(seed=6)))
    assert not data.status().problems
    before = data.digest()
    assert before != make_folder().digest()
    picture(seed=9).save(image_folder / "hints" / "a.png")
    assert make_folder(hints=hints).digest() != before


def test_folder_names_a_hint_that_lacks_or_does_not_fit(
    make_folder: Make, image_folder: Path, hints: str
) -> None:
    picture(48, 16).save(image_folder / "hints" / "a.png")
    data = make_folder(hints=hints)
    with pytest.raises(UserError, match=r"hints.a\.png: is 48x16.* a hint must have"):
        data.load("a")
    assert "a hint must have" in data.status().problems[0]
    (image_folder / "hints" / "b.bmp").unlink()
    assert "1 images have no hint of their name" in make_folder(hints=hints).status().problems[0]
    with pytest.raises(UserError, match=r"have no hint of their name in .*hints: b\.png"):
        make_folder(hints=hints).ids()
    with pytest.raises(UserError, match="no folder of hints"):
        make_folder(hints=str(image_folder / "nowhere")).ids()


def test_folder_fits_a_hint_like_its_image(
    make_folder: Make, image_folder: Path, hints: str
) -> None:
    shown = picture(96, 64)
    replace_a(image_folder, shown)
    shown.save(image_folder / "hints" / "a.png")
    example = make_folder(fit="crop", hints=hints).load("a")
    np.testing.assert_array_equal(example.hint, example.image)


# -- what mask files may be


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "L", "LA", "RGBA"])
def test_folder_mask_modes(make_folder: Make, image_folder: Path, mode: str) -> None:
    box_mask().convert(mode).save(image_folder / "masks" / "a.png")
    np.testing.assert_array_equal(make_folder().load("a").mask, BOX)


def test_folder_mask_of_16_bits(make_folder: Make, image_folder: Path) -> None:
    Image.fromarray((BOX * 65535).astype(np.uint16)).save(image_folder / "masks" / "a.png")
    np.testing.assert_array_equal(make_folder().load("a").mask, BOX)


def test_folder_jpeg_mask_is_thresholded(make_folder: Make, image_folder: Path) -> None:
    (image_folder / "masks" / "a.png").unlink()
    box_mask(white=(3, 5, 11, 21)).convert("RGB").save(image_folder / "masks" / "a.jpg", quality=60)
    loaded = make_folder().load("a").mask
    assert set(np.unique(loaded)) == {0, 1}
    assert loaded.mean() == pytest.approx(8 * 16 / SIDE**2, rel=0.1)


def test_folder_soft_mask(make_folder: Make, image_folder: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, SIDE).astype(np.uint8), (SIDE, 1))
    Image.fromarray(ramp).save(image_folder / "masks" / "a.png")
    np.testing.assert_allclose(make_folder(threshold=None).load("a").mask, ramp / 255, atol=1e-6)
    assert set(np.unique(make_folder().load("a").mask)) == {0, 1}


def test_folder_refuses_a_transparent_mask(make_folder: Make, image_folder: Path) -> None:
    see_through = box_mask().convert("RGBA")
    see_through.putalpha(box_mask())
    see_through.save(image_folder / "masks" / "a.png")
    with pytest.raises(UserError, match=r"masks.a\.png: has transparent pixels"):
        make_folder().load("a")


def test_folder_refuses_a_picture_as_mask(make_folder: Make, image_folder: Path) -> None:
    picture().save(image_folder / "masks" / "a.png")
    with pytest.raises(UserError, match=r"masks.a\.png: coloured"):
        make_folder().load("a")


@pytest.mark.parametrize(("value", "what"), [(0, "nothing"), (255, "the whole image")])
def test_folder_refuses_empty_and_full_masks(
    make_folder: Make, image_folder: Path, value: int, what: str
) -> None:
    Image.new("L", (SIDE, SIDE), value).save(image_folder / "masks" / "a.png")
    with pytest.raises(UserError, match=rf"masks.a\.png: mask hides {what}"):
        make_folder().load("a")


def test_folder_refuses_a_hole_that_the_crop_cut_off(make_folder: Make, image_folder: Path) -> None:
    replace_a(image_folder, picture(96, 32))
    box_mask(96, 32).save(image_folder / "masks" / "a.png")
    with pytest.raises(UserError, match="hides nothing"):
        make_folder(fit="crop").load("a")


# -- which files belong together


def test_folder_ids_are_paths_without_suffix(make_folder: Make, image_folder: Path) -> None:
    for name in ("images", "masks"):
        (image_folder / name / "x" / "y").mkdir(parents=True)
        shutil.copy(image_folder / name / "a.png", image_folder / name / "x" / "y" / "a.b.png")
    data = make_folder()
    assert data.ids() == ["a", "b", "x/y/a.b"]
    assert data.load("x/y/a.b").id == "x/y/a.b"


@pytest.mark.parametrize(
    "example_id", ["../images/a", "../masks/a", "/etc/passwd", "a.png", "", "c"]
)
def test_folder_ids_never_leave_the_folder(make_folder: Make, example_id: str) -> None:
    with pytest.raises(UserError, match="no example"):
        make_folder().load(example_id)


def test_folder_follows_linked_files_but_enters_no_linked_folder(
    make_folder: Make, image_folder: Path
) -> None:
    (image_folder / "images" / "c.png").symlink_to(image_folder / "images" / "a.png")
    (image_folder / "masks" / "c.png").symlink_to(image_folder / "masks" / "a.png")
    (image_folder / "images" / "loop").symlink_to(image_folder / "images", target_is_directory=True)
    assert make_folder().ids() == ["a", "b", "c"]


def test_folder_ignores_and_counts_other_files(make_folder: Make, image_folder: Path) -> None:
    (image_folder / "images" / "notes.txt").write_text("x")
    (image_folder / "images" / "Thumbs.db").write_bytes(b"x")
    (image_folder / "images" / ".DS_Store").write_bytes(b"x")
    (image_folder / "images" / ".hidden.png").write_bytes(b"x")
    data = make_folder()
    assert data.ids() == ["a", "b"]
    status = data.status()
    assert (status.found, list(status.problems)) == (2, [])
    (note,) = status.notes
    assert note.startswith("4 other files ignored")
    assert note.endswith(": .DS_Store; .hidden.png; Thumbs.db; notes.txt")


@pytest.mark.parametrize("name", [
    "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "#recycle/a.png", "__MACOSX/images/._a.png", "._a.png",
    "x/.ipynb_checkpoints/a-checkpoint.png",
])  # fmt: skip
def test_folder_ignores_and_counts_thumbnails_and_leftovers(
    make_folder: Make, image_folder: Path, name: str
) -> None:
    file = image_folder / "images" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    picture().save(file)
    assert make_folder().ids() == ["a", "b"]
    assert list(make_folder().status().notes) == [
        f"1 other files ignored in {image_folder}/images: {name}"
    ]


@pytest.mark.parametrize(("folder", "name"), [
    ("images", "a.jpg"), ("images", "A.PNG"), ("masks", "a.tif"), ("masks", "A.Png"),
])  # fmt: skip
def test_folder_refuses_two_files_of_one_id(
    make_folder: Make, image_folder: Path, folder: str, name: str
) -> None:
    """Capitals tell no files apart where the outputs of both would be one file."""
    box_mask().convert("RGB").save(image_folder / folder / name)
    message = rf"2 {folder} in .* share their name.*: (a\.png; {name}|{name}; a\.png)"
    with pytest.raises(UserError, match=message):
        make_folder().ids()


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(("image", "other"), [
    (COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED), ("IMG_1", "img_1"), ("img_1", "IMG_1"),
])  # fmt: skip
def test_folder_pairs_names_that_look_the_same(
    make_folder: Make, image_folder: Path, image: str, other: str
) -> None:
    (image_folder / "hints").mkdir()
    picture(seed=5).save(image_folder / "images" / f"{image}.PNG")
    box_mask(white=(0, 0, 4, 4)).save(image_folder / "masks" / f"{other}.png")
    for name in ("a", "b", other):
        picture(seed=6).save(image_folder / "hints" / f"{name}.bmp")
    captions = image_folder / "captions.json"
    captions.write_text(json.dumps({"a": "1", "b": "2", f"{other}.png": "3"}))
    data = make_folder(hints=str(image_folder / "hints"), captions=str(captions))
    example_id = unicodedata.normalize("NFC", image)
    assert set(data.ids()) == {"a", "b", example_id}
    example = data.load(example_id)
    assert example.mask.sum() == 16
    assert example.caption == "3"
    np.testing.assert_array_equal(example.hint, np.array(picture(seed=6)))
    assert not data.status().problems


def test_folder_is_the_same_data_set_on_a_file_system_that_decomposes(
    make_folder: Make, image_folder: Path
) -> None:
    """Also in its order: a decomposed letter sorts elsewhere."""
    for name in (COMPOSED, "cafz"):
        picture(seed=2).save(image_folder / "images" / f"{name}.png")
        box_mask().save(image_folder / "masks" / f"{name}.png")
    ids, digest = make_folder().ids(), make_folder().digest()
    file = image_folder / "images" / f"{COMPOSED}.png"
    file.rename(file.with_name(f"{DECOMPOSED}.png"))
    assert make_folder().ids() == ids == ["a", "b", "cafz", COMPOSED]
    assert make_folder().digest() == digest


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_folder_refuses_a_name_that_is_not_unicode(
    make_folder: Make, image_folder: Path, folder: str
) -> None:
    shutil.copy(image_folder / folder / "a.png", os.fsencode(image_folder / folder) + b"/c\xe9.png")
    message = rf"1 {folder} in .* not UTF-8 \(rename them\): c\\udce9\.png"
    with pytest.raises(UserError, match=message) as error:
        make_folder().ids()
    assert str(error.value).isascii()  # so that any terminal can print it
    assert "c\\udce9.png" in make_folder().status().problems[0]


def test_folder_names_images_without_mask(make_folder: Make, image_folder: Path) -> None:
    for i in range(7):
        picture().save(image_folder / "images" / f"z{i}.png")
    message = r"7 images have no mask.*z0\.png; .*z4\.png and 2 more.*make_masks"
    with pytest.raises(UserError, match=message):
        make_folder().ids()
    status = make_folder().status()
    assert status.found == 9
    assert "7 images have no mask" in status.problems[0]
    assert "make_masks" in status.remedy


def test_folder_ignores_masks_of_other_images(make_folder: Make, image_folder: Path) -> None:
    before = make_folder().digest()
    box_mask().save(image_folder / "masks" / "z.png")
    assert make_folder().ids() == ["a", "b"]
    assert make_folder().digest() == before


def test_folder_pairs_in_sorted_order(make_folder: Make, image_folder: Path) -> None:
    (image_folder / "masks" / "a.png").rename(image_folder / "masks" / "mask_1.png")
    box_mask(white=(0, 0, 32, 8)).save(image_folder / "masks" / "mask_2.png")
    (image_folder / "masks" / "b.png").unlink()
    data = make_folder(pairing="sorted")
    assert [data.load(i).mask.mean() for i in data.ids()] == [0.125, 0.25]
    box_mask().save(image_folder / "masks" / "mask_3.png")
    with pytest.raises(UserError, match="2 images and 3 masks"):
        make_folder(pairing="sorted").ids()


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_folder_says_where_missing_data_is_to_be_had(
    make_folder: Make, image_folder: Path, folder: str
) -> None:
    shutil.rmtree(image_folder / folder)
    data = make_folder(source="Ask the librarian.")
    with pytest.raises(UserError, match=rf"no folder of {folder} at .*Ask the librarian"):
        data.ids()
    status = data.status()
    assert status.found == (0 if folder == "images" else 2)
    assert "Ask the librarian" in status.remedy
    (image_folder / folder).mkdir()
    assert make_folder().status().problems[0].startswith(f"no {folder} in")


def test_folder_status_names_bad_headers(make_folder: Make, image_folder: Path) -> None:
    (image_folder / "images" / "a.png").write_bytes(b"no image")
    (image_folder / "masks" / "b.png").write_bytes(b"")
    (problem,) = make_folder().status().problems
    assert problem.startswith("2 pairs cannot be used")
    assert "a.png: cannot be read" in problem
    assert "b.png: cannot be read" in problem


# -- captions


def test_folder_captions(make_folder: Make, image_folder: Path) -> None:
    file = image_folder / "captions.json"
    file.write_text(json.dumps({"a.png": "a barn", "b": "a hill"}))
    data = make_folder(captions=str(file))
    assert [data.load(i).caption for i in data.ids()] == ["a barn", "a hill"]
    assert data.digest() != make_folder().digest()
    file.write_text(json.dumps({"b": "a hill"}))
    data = make_folder(captions=str(file))
    with pytest.raises(UserError, match=r"1 images have no caption in .*: a\.png"):
        data.ids()
    assert "no caption" in data.status().problems[0]


def test_folder_reads_captions_as_windows_writes_them(
    make_folder: Make, image_folder: Path
) -> None:
    file = image_folder / "captions.json"
    file.write_text(json.dumps({"A.PNG": "a barn", "b": "a hill"}), encoding="utf-8-sig")
    data = make_folder(captions=str(file))
    assert [data.load(i).caption for i in data.ids()] == ["a barn", "a hill"]


@pytest.mark.parametrize(("text", "message"), [
    ('{"a": "x", "b": "y", "a": "z"}', r"1 names have several captions \(keep one\): a"),
    ('{"a": "x", "b": "y", "A": "z"}', "1 names have several captions"),
    (r'{"a": "x", "b": "\ud800"}', r"1 captions hold half a character .*: b"),
    ("[" * 100_000, "cannot be read"),
])  # fmt: skip
def test_folder_refuses_captions_that_are_ambiguous_or_no_text(
    make_folder: Make, image_folder: Path, text: str, message: str
) -> None:
    file = image_folder / "captions.json"
    file.write_text(text)
    with pytest.raises(UserError, match=rf"captions\.json: {message}"):
        make_folder(captions=str(file)).ids()


def test_folder_takes_a_caption_that_is_there_twice(make_folder: Make, image_folder: Path) -> None:
    file = image_folder / "captions.json"
    file.write_text('{"a": "x", "b": "y", "A": "x"}')
    assert make_folder(captions=str(file)).load("a").caption == "x"


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', "{", None])
def test_folder_refuses_other_caption_files(
    make_folder: Make, image_folder: Path, text: str | None
) -> None:
    file = image_folder / "captions.json"
    if text is not None:
        file.write_text(text)
    data = make_folder(captions=str(file))
    with pytest.raises(UserError, match=r"captions\.json"):
        data.ids()
    assert "captions.json" in data.status().problems[0]


def test_folder_digest_is_of_the_content(
    make_folder: Make, image_folder: Path, tmp_path: Path
) -> None:
    first = make_folder().digest()
    shutil.copytree(image_folder / "images", tmp_path / "elsewhere")
    assert make_folder(images=str(tmp_path / "elsewhere")).digest() == first
    picture(seed=3).save(image_folder / "images" / "b.png")
    changed = make_folder().digest()
    box_mask(white=(0, 0, 9, 9)).save(image_folder / "masks" / "b.png")
    renamed = make_folder().digest()
    assert len({first, changed, renamed}) == 3
