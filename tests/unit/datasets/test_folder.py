"""Data sets of inpainting: the embedded one, and folders of files in all the forms they take."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sde_edit.store.digests as digests_module
from sde_edit.datasets.folder import Folder
from sde_edit.datasets.shapes import Shapes
from sde_edit.errors import UserError
from sde_edit.imaging.shapes_world import SPLITS, make_scene
from sde_edit.registry import build

SIDE = 32


pytestmark = pytest.mark.usefixtures("own_cache")


# ------------------------------------------------------------------ shapes


def test_shapes_gives_the_scene_its_caption_and_its_truth() -> None:
    data = build("datasets", "shapes", {"split": "test", "n": 5, "masks": "large"})
    assert data.ids() == [f"test-00000{i}" for i in range(5)]
    example = data.load("test-000003")
    scene = make_scene(SPLITS["test"][3])
    np.testing.assert_array_equal(example.image, scene.render())
    np.testing.assert_array_equal(example.truth, scene.render())
    assert example.caption == scene.caption()
    assert example.mask.shape == (64, 64)
    assert example.mask.dtype == np.float32
    assert 0.3 <= example.mask.mean() <= 0.51


def test_shapes_does_not_depend_on_n() -> None:
    few, many = Shapes(n=2), Shapes(n=500)
    assert few.digest() == many.digest()
    np.testing.assert_array_equal(few.load("test-000001").mask, many.load("test-000001").mask)


def test_shapes_digest_tells_splits_and_masks_apart() -> None:
    kinds = [Shapes(split=s, masks=m) for s in ("val", "test") for m in ("small", "large")]
    assert len({data.digest() for data in kinds}) == 4


@pytest.mark.parametrize(
    "example_id", ["test-000005", "val-000000", "test-0", "0", "test--00001", "../x"]
)
def test_shapes_refuses_other_ids(example_id: str) -> None:
    with pytest.raises(UserError, match="ids are test-000000 to test-000004"):
        Shapes(n=5).load(example_id)


@pytest.mark.parametrize(("settings", "message"), [
    ({"n": 0}, "data.n=0"),
    ({"n": 100_001}, "1 to 100000"),
    ({"masks": "medium"}, "'small' or 'large'"),
    ({"mask": "small"}, "Did you mean 'masks'"),
])  # fmt: skip
def test_shapes_refuses_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("datasets", "shapes", settings)


def test_shapes_status() -> None:
    status = Shapes(n=7).status()
    assert (status.found, list(status.problems)) == (7, [])


# ------------------------------------------------------------------ folders

Make = Callable[..., Folder]


def picture(width: int = SIDE, height: int = SIDE, seed: int = 0) -> Image.Image:
    """A smooth picture, no two seeds alike."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    layers = (x * 255 / width, y * 255 / height, np.full_like(x, 40 + 30 * seed))
    return Image.fromarray(np.stack(layers, axis=-1).astype(np.uint8))


def mask(
    width: int = SIDE, height: int = SIDE, white: tuple[int, ...] = (0, 0, 8, 16)
) -> Image.Image:
    """Black with a white box (left, top, right, bottom)."""
    canvas = Image.new("L", (width, height), 0)
    canvas.paste(255, white)
    return canvas


BOX = np.zeros((SIDE, SIDE), np.float32)
BOX[0:16, 0:8] = 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images and their masks, white box = rows 0-15, columns 0-7."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for seed, stem in enumerate(("a", "b")):
        picture(seed=seed).save(tmp_path / "images" / f"{stem}.png")
        mask().save(tmp_path / "masks" / f"{stem}.png")
    return tmp_path


@pytest.fixture
def make(root: Path) -> Make:
    def folder(**settings: Any) -> Folder:
        paths = {"images": str(root / "images"), "mask_root": str(root / "masks")}
        built = build(
            "datasets", "folder", {**paths, "hole": "white", "resolution": SIDE} | settings
        )
        assert isinstance(built, Folder)
        return built

    return folder


def test_folder_loads_image_mask_and_truth(make: Make) -> None:
    data = make()
    assert data.ids() == ["a", "b"]
    example = data.load("b")
    np.testing.assert_array_equal(example.image, np.array(picture(seed=1)))
    np.testing.assert_array_equal(example.truth, example.image)
    np.testing.assert_array_equal(example.mask, BOX)
    assert example.mask.dtype == np.float32
    assert example.caption == ""
    example.image[:] = 0  # a copy: the truth stays
    assert example.truth.any()


def test_folder_polarity(make: Make) -> None:
    np.testing.assert_array_equal(make(hole="black").load("a").mask, 1 - BOX)


def test_folder_mask_sets(make: Make, root: Path) -> None:
    (root / "masks" / "large").mkdir()
    for stem in ("a", "b"):
        mask(white=(0, 0, 32, 16)).save(root / "masks" / "large" / f"{stem}.png")
    assert make(masks="large").load("a").mask.mean() == 0.5
    assert make(masks="large").digest() != make().digest()


@pytest.mark.parametrize("masks", ["../images", "/etc", "x/../.."])
def test_folder_mask_set_stays_below_its_root(make: Make, masks: str) -> None:
    with pytest.raises(UserError, match=r"data\.masks=.*below data\.mask_root"):
        make(masks=masks)


@pytest.mark.parametrize(("settings", "message"), [
    ({"hole": "grey"}, "'black' or 'white'"),
    ({"threshold": 1.0}, "data.threshold=1.0"),
    ({"threshold": -0.1}, "data.threshold=-0.1"),
    ({"resolution": 0}, "data.resolution=0"),
    ({"resolution": "512"}, "resolution"),
    ({"pairing": "cycle"}, "'stem' or 'sorted'"),
    ({"fits": "crop"}, "Did you mean 'fit'"),
])  # fmt: skip
def test_folder_refuses_settings(make: Make, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**settings)


def test_folder_needs_the_polarity() -> None:
    with pytest.raises(UserError, match="hole"):
        build("datasets", "folder", {"images": "x", "mask_root": "y", "resolution": 8})


# -- what image files may be


def replace_a(root: Path, image: Image.Image, name: str = "a.png", **options: Any) -> None:
    (root / "images" / "a.png").unlink()
    image.save(root / "images" / name, **options)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGB", "LA", "RGBA"])
def test_folder_makes_rgb_of_every_mode(make: Make, root: Path, mode: str) -> None:
    converted = picture().convert(mode)
    replace_a(root, converted, "a.tif")
    image = make().load("a").image
    assert image.shape == (SIDE, SIDE, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.array(converted.convert("RGB")))


def test_folder_rounds_16_bits(make: Make, root: Path) -> None:
    deep = np.linspace(0, 65535, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE)
    replace_a(root, Image.fromarray(deep))
    expected = np.rint(deep / 257).astype(np.uint8)
    np.testing.assert_array_equal(make().load("a").image, np.stack([expected] * 3, axis=-1))


def test_folder_composites_transparency_on_white(make: Make, root: Path) -> None:
    image = picture().convert("RGBA")
    image.putalpha(mask())
    replace_a(root, image)
    loaded = make().load("a").image
    assert (loaded[BOX == 0] == 255).all()
    np.testing.assert_array_equal(loaded[BOX == 1], np.array(picture())[BOX == 1])


def test_folder_composites_a_transparent_palette_colour(make: Make, root: Path) -> None:
    image = Image.new("P", (SIDE, SIDE), 0)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.paste(1, (0, 0, 8, 16))
    replace_a(root, image, transparency=0)
    loaded = make().load("a").image
    assert (loaded[BOX == 0] == 255).all()
    assert (loaded[BOX == 1] == (200, 10, 10)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_folder_applies_exif_orientation(make: Make, root: Path, orientation: int) -> None:
    """A viewer's picture: what is stored is turned so that the orientation brings it back."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    shown = picture(width=48)
    stored = shown.transpose(undo[orientation]) if orientation > 1 else shown
    exif = Image.Exif()
    exif[0x0112] = orientation
    replace_a(root, stored, exif=exif)
    mask(width=48, white=(0, 0, 24, 16)).save(root / "masks" / "a.png")
    data = make(fit="crop")
    np.testing.assert_array_equal(data.load("a").image, np.array(shown)[:, 8:40])
    assert not data.status().problems


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.webp", "a.bmp", "a.TIF"])
def test_folder_reads_the_usual_formats(make: Make, root: Path, name: str) -> None:
    replace_a(root, picture(), name)
    image = make().load("a").image.astype(int)
    assert np.abs(image - np.array(picture())).mean() < 6


@pytest.mark.parametrize("keep", [0, 10, 200, 400])
@pytest.mark.parametrize("folder", ["images", "masks"])
def test_folder_names_a_file_cut_short(make: Make, root: Path, folder: str, keep: int) -> None:
    whole = root / folder / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), np.uint8)).save(whole)
    (root / folder / "a.png").unlink()
    whole.write_bytes(whole.read_bytes()[:keep])
    with pytest.raises(UserError, match=rf"{folder}.a\.jpg: cannot be read as an image"):
        make().load("a")


def test_folder_refuses_floating_point(make: Make, root: Path) -> None:
    replace_a(root, Image.fromarray(np.zeros((SIDE, SIDE), np.float32)), "a.tif")
    with pytest.raises(UserError, match=r"a\.tif: floating-point"):
        make().load("a")


def test_folder_refuses_an_image_that_would_fill_the_memory(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match=r"a\.png: cannot be read"):
        make().load("a")


# -- sizes


def test_folder_exact_refuses_another_size(make: Make, root: Path) -> None:
    replace_a(root, picture(40, 32))
    mask(40, 32).save(root / "masks" / "a.png")
    with pytest.raises(UserError, match=r"a\.png: is 40x32, not 32x32.*data\.fit=crop"):
        make().load("a")
    assert "is 40x32" in make().status().problems[0]


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 97), (20, 30), (33, 32)])
def test_folder_crop_keeps_mask_and_image_together(
    make: Make, root: Path, width: int, height: int
) -> None:
    """Where the image is bright, the mask is white; after fitting it still is."""
    both = mask(width, height, (width // 4, height // 4, width // 2, height))
    replace_a(root, both)
    both.save(root / "masks" / "a.png")
    example = make(fit="crop").load("a")
    assert example.image.shape == (SIDE, SIDE, 3)
    assert ((example.image[..., 0] > 127) == (example.mask > 0)).mean() > 0.98


def test_folder_crop_takes_a_mask_of_the_final_size(make: Make, root: Path) -> None:
    replace_a(root, picture(96, 64))
    np.testing.assert_array_equal(make(fit="crop").load("a").mask, BOX)


@pytest.mark.parametrize("size", [(31, 32), (64, 96), (16, 16)])
def test_folder_refuses_a_mask_of_another_size(
    make: Make, root: Path, size: tuple[int, int]
) -> None:
    replace_a(root, picture(96, 64))
    mask(*size).save(root / "masks" / "a.png")
    data = make(fit="crop")
    with pytest.raises(
        UserError, match=rf"masks.a\.png: is {size[0]}x{size[1]}, its image .*96x64"
    ):
        data.load("a")
    assert "1 pairs cannot be used" in data.status().problems[0]


# -- hints


@pytest.fixture
def hints(root: Path) -> str:
    (root / "hints").mkdir()
    for seed, name in enumerate(("a.png", "b.bmp")):
        picture(seed=seed + 5).save(root / "hints" / name)
    return str(root / "hints")


def test_folder_loads_the_hint_of_the_same_name(make: Make, root: Path, hints: str) -> None:
    assert make().load("b").hint is None
    data = make(hints=hints)
    np.testing.assert_array_equal(data.load("b").hint, np.array(picture(seed=6)))
    assert not data.status().problems
    before = data.digest()
    assert before != make().digest()
    picture(seed=9).save(root / "hints" / "a.png")
    assert make(hints=hints).digest() != before


def test_folder_names_a_hint_that_lacks_or_does_not_fit(make: Make, root: Path, hints: str) -> None:
    picture(48, 16).save(root / "hints" / "a.png")
    data = make(hints=hints)
    with pytest.raises(UserError, match=r"hints.a\.png: is 48x16.* a hint must have"):
        data.load("a")
    assert "a hint must have" in data.status().problems[0]
    (root / "hints" / "b.bmp").unlink()
    assert "1 images have no hint of their name" in make(hints=hints).status().problems[0]
    with pytest.raises(UserError, match=r"have no hint of their name in .*hints: b\.png"):
        make(hints=hints).ids()
    with pytest.raises(UserError, match="no folder of hints"):
        make(hints=str(root / "nowhere")).ids()


def test_folder_fits_a_hint_like_its_image(make: Make, root: Path, hints: str) -> None:
    shown = picture(96, 64)
    replace_a(root, shown)
    shown.save(root / "hints" / "a.png")
    example = make(fit="crop", hints=hints).load("a")
    np.testing.assert_array_equal(example.hint, example.image)


# -- what mask files may be


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "L", "LA", "RGBA"])
def test_folder_mask_modes(make: Make, root: Path, mode: str) -> None:
    mask().convert(mode).save(root / "masks" / "a.png")
    np.testing.assert_array_equal(make().load("a").mask, BOX)


def test_folder_mask_of_16_bits(make: Make, root: Path) -> None:
    Image.fromarray((BOX * 65535).astype(np.uint16)).save(root / "masks" / "a.png")
    np.testing.assert_array_equal(make().load("a").mask, BOX)


def test_folder_jpeg_mask_is_thresholded(make: Make, root: Path) -> None:
    (root / "masks" / "a.png").unlink()
    mask(white=(3, 5, 11, 21)).convert("RGB").save(root / "masks" / "a.jpg", quality=60)
    loaded = make().load("a").mask
    assert set(np.unique(loaded)) == {0, 1}
    assert loaded.mean() == pytest.approx(8 * 16 / SIDE**2, rel=0.1)


def test_folder_soft_mask(make: Make, root: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, SIDE).astype(np.uint8), (SIDE, 1))
    Image.fromarray(ramp).save(root / "masks" / "a.png")
    np.testing.assert_allclose(make(threshold=None).load("a").mask, ramp / 255, atol=1e-6)
    assert set(np.unique(make().load("a").mask)) == {0, 1}


def test_folder_refuses_a_transparent_mask(make: Make, root: Path) -> None:
    see_through = mask().convert("RGBA")
    see_through.putalpha(mask())
    see_through.save(root / "masks" / "a.png")
    with pytest.raises(UserError, match=r"masks.a\.png: has transparent pixels"):
        make().load("a")


def test_folder_refuses_a_picture_as_mask(make: Make, root: Path) -> None:
    picture().save(root / "masks" / "a.png")
    with pytest.raises(UserError, match=r"masks.a\.png: coloured"):
        make().load("a")


@pytest.mark.parametrize(("value", "what"), [(0, "nothing"), (255, "the whole image")])
def test_folder_refuses_empty_and_full_masks(make: Make, root: Path, value: int, what: str) -> None:
    Image.new("L", (SIDE, SIDE), value).save(root / "masks" / "a.png")
    with pytest.raises(UserError, match=rf"masks.a\.png: mask hides {what}"):
        make().load("a")


def test_folder_refuses_a_hole_that_the_crop_cut_off(make: Make, root: Path) -> None:
    replace_a(root, picture(96, 32))
    mask(96, 32).save(root / "masks" / "a.png")
    with pytest.raises(UserError, match="hides nothing"):
        make(fit="crop").load("a")


# -- which files belong together


def test_folder_ids_are_paths_without_suffix(make: Make, root: Path) -> None:
    for name in ("images", "masks"):
        (root / name / "x" / "y").mkdir(parents=True)
        shutil.copy(root / name / "a.png", root / name / "x" / "y" / "a.b.png")
    data = make()
    assert data.ids() == ["a", "b", "x/y/a.b"]
    assert data.load("x/y/a.b").id == "x/y/a.b"


@pytest.mark.parametrize(
    "example_id", ["../images/a", "../masks/a", "/etc/passwd", "a.png", "", "c"]
)
def test_folder_ids_never_leave_the_folder(make: Make, example_id: str) -> None:
    with pytest.raises(UserError, match="no example"):
        make().load(example_id)


def test_folder_follows_linked_files_but_enters_no_linked_folder(make: Make, root: Path) -> None:
    (root / "images" / "c.png").symlink_to(root / "images" / "a.png")
    (root / "masks" / "c.png").symlink_to(root / "masks" / "a.png")
    (root / "images" / "loop").symlink_to(root / "images", target_is_directory=True)
    assert make().ids() == ["a", "b", "c"]


def test_folder_ignores_and_counts_other_files(make: Make, root: Path) -> None:
    (root / "images" / "notes.txt").write_text("x")
    (root / "images" / "Thumbs.db").write_bytes(b"x")
    (root / "images" / ".DS_Store").write_bytes(b"x")
    (root / "images" / ".hidden.png").write_bytes(b"x")
    data = make()
    assert data.ids() == ["a", "b"]
    status = data.status()
    assert (status.found, list(status.problems)) == (2, [])
    assert status.notes[0].startswith("2 other files ignored")


def test_folder_refuses_two_images_of_one_id(make: Make, root: Path) -> None:
    picture().save(root / "images" / "a.jpg")
    with pytest.raises(UserError, match=r"share their name with another: a\.jpg; a\.png"):
        make().ids()


def test_folder_names_images_without_mask(make: Make, root: Path) -> None:
    for i in range(7):
        picture().save(root / "images" / f"z{i}.png")
    message = r"7 images have no mask.*z0\.png; .*z4\.png and 2 more.*make_masks"
    with pytest.raises(UserError, match=message):
        make().ids()
    status = make().status()
    assert status.found == 9
    assert "7 images have no mask" in status.problems[0]
    assert "make_masks" in status.remedy


def test_folder_ignores_masks_of_other_images(make: Make, root: Path) -> None:
    before = make().digest()
    mask().save(root / "masks" / "z.png")
    assert make().ids() == ["a", "b"]
    assert make().digest() == before


def test_folder_pairs_in_sorted_order(make: Make, root: Path) -> None:
    (root / "masks" / "a.png").rename(root / "masks" / "mask_1.png")
    mask(white=(0, 0, 32, 8)).save(root / "masks" / "mask_2.png")
    (root / "masks" / "b.png").unlink()
    data = make(pairing="sorted")
    assert [data.load(i).mask.mean() for i in data.ids()] == [0.125, 0.25]
    mask().save(root / "masks" / "mask_3.png")
    with pytest.raises(UserError, match="2 images and 3 masks"):
        make(pairing="sorted").ids()


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_folder_says_where_missing_data_is_to_be_had(make: Make, root: Path, folder: str) -> None:
    shutil.rmtree(root / folder)
    data = make(source="Ask the librarian.")
    with pytest.raises(UserError, match=rf"no folder of {folder} at .*Ask the librarian"):
        data.ids()
    status = data.status()
    assert status.found == (0 if folder == "images" else 2)
    assert "Ask the librarian" in status.remedy
    (root / folder).mkdir()
    assert make().status().problems[0].startswith(f"no {folder} in")


def test_folder_status_names_bad_headers(make: Make, root: Path) -> None:
    (root / "images" / "a.png").write_bytes(b"no image")
    (root / "masks" / "b.png").write_bytes(b"")
    (problem,) = make().status().problems
    assert problem.startswith("2 pairs cannot be used")
    assert "a.png: cannot be read" in problem
    assert "b.png: cannot be read" in problem


# -- captions


def test_folder_captions(make: Make, root: Path) -> None:
    file = root / "captions.json"
    file.write_text(json.dumps({"a.png": "a barn", "b": "a hill"}))
    data = make(captions=str(file))
    assert [data.load(i).caption for i in data.ids()] == ["a barn", "a hill"]
    assert data.digest() != make().digest()
    file.write_text(json.dumps({"b": "a hill"}))
    data = make(captions=str(file))
    with pytest.raises(UserError, match=r"1 images have no caption in .*: a\.png"):
        data.ids()
    assert "no caption" in data.status().problems[0]


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', "{", None])
def test_folder_refuses_other_caption_files(make: Make, root: Path, text: str | None) -> None:
    file = root / "captions.json"
    if text is not None:
        file.write_text(text)
    data = make(captions=str(file))
    with pytest.raises(UserError, match=r"captions\.json"):
        data.ids()
    assert "captions.json" in data.status().problems[0]


# -- digests


def test_folder_digest_is_of_the_content(make: Make, root: Path, tmp_path: Path) -> None:
    first = make().digest()
    shutil.copytree(root / "images", tmp_path / "elsewhere")
    assert make(images=str(tmp_path / "elsewhere")).digest() == first
    picture(seed=3).save(root / "images" / "b.png")
    changed = make().digest()
    mask(white=(0, 0, 9, 9)).save(root / "masks" / "b.png")
    renamed = make().digest()
    assert len({first, changed, renamed}) == 3


def test_files_are_hashed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests_module, "_SETTLED_NS", -(10**12))  # as if written long ago
    hashed: list[Path] = []
    plain = digests_module._hash
    monkeypatch.setattr(digests_module, "_hash", lambda path: hashed.append(path) or plain(path))
    files = sorted((root / "images").iterdir())
    first = digests_module.files_digest(files, root)
    assert digests_module.files_digest(files[::-1], root) == first
    assert hashed == files
    files[0].write_bytes(b"changed")
    assert digests_module.files_digest(files, root) != first
    assert hashed == [*files, files[0]]


def test_a_file_just_written_is_not_trusted_to_keep_its_times(root: Path, tmp_path: Path) -> None:
    digests_module.file_digest(root / "images" / "a.png")
    assert not (tmp_path / "cache" / "sde-edit" / "digests.json").exists()


@pytest.mark.parametrize("damage", ["{", "[]", '{"x": 3}', '{"x": [1, 2, 3]}'])
def test_a_damaged_memory_is_ignored(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(digests_module, "_SETTLED_NS", -(10**12))
    memory = tmp_path / "cache" / "sde-edit" / "digests.json"
    memory.parent.mkdir(parents=True)
    memory.write_text(damage)
    expected = digests_module._hash(root / "images" / "a.png")
    assert digests_module.file_digest(root / "images" / "a.png") == expected
    assert str(root / "images" / "a.png") in json.loads(memory.read_text())


def test_a_memory_that_cannot_be_written_is_done_without(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests_module, "_SETTLED_NS", -(10**12))
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert len(digests_module.file_digest(root / "images" / "a.png")) == 64


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*gone\.bin: No such file"):
        digests_module.file_digest(tmp_path / "gone.bin")


def test_names_count_in_a_digest_of_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    first = digests_module.files_digest([tmp_path / "a"], tmp_path)
    os.replace(tmp_path / "a", tmp_path / "b")
    assert digests_module.files_digest([tmp_path / "b"], tmp_path) != first
