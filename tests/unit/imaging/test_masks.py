"""The mask generator: ratios, determinism, form; and what the greys of a mask file mean."""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sde_edit.errors import UserError
from sde_edit.imaging.masks import RATIOS, MaskSize, as_mask, draw_mask, free_form
from tests.builders import ROOT

FILE = Path("m.png")


def sha(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:12]


@pytest.mark.parametrize(("masks", "mean"), [("small", 0.2), ("large", 0.4)])
def test_ratios_are_in_range_and_their_mean_is_the_papers(masks: MaskSize, mean: float) -> None:
    ratios = [draw_mask(masks, str(i), height=64, width=64).mean() for i in range(250)]
    low, high = RATIOS[masks]
    assert np.mean(ratios) == pytest.approx(mean, abs=0.01)
    assert min(ratios) >= low
    assert max(ratios) <= high + 0.01
    assert np.std(ratios) == pytest.approx((high - low) / 12**0.5, abs=0.01)  # uniform


def test_golden_masks() -> None:
    drawn = [draw_mask(m, str(i), height=64, width=64) for m in RATIOS for i in (0, 1, 1_100_000)]
    assert [sha(mask) for mask in drawn] == [
        "44c5367f61d0", "7daf0b9e13df", "3fa037aee336",  # small
        "23fa939bee44", "f1b364fba30b", "90e2203cd11a",  # large
    ]  # fmt: skip


def test_a_mask_is_float32_of_0_and_1() -> None:
    mask = draw_mask("small", "a", height=40, width=72)
    assert mask.shape == (40, 72)
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) == {0.0, 1.0}


def test_masks_differ_between_keys_and_sizes() -> None:
    drawn = [draw_mask(m, str(i), height=64, width=64) for m in RATIOS for i in range(50)]
    assert len({sha(mask) for mask in drawn}) == 100


def test_drawing_leaves_the_global_generators_alone() -> None:
    before = random.getstate(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    draw_mask("large", "a", height=64, width=64)
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == before  # noqa: NPY002


@pytest.mark.parametrize(("height", "width"), [(512, 512), (96, 160), (160, 96), (8, 8), (5, 300)])
@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.95])
def test_any_size_reaches_its_ratio(height: int, width: int, ratio: float) -> None:
    mean = free_form(random.Random(3), ratio, height=height, width=width).mean()
    assert ratio <= mean <= ratio + 0.01 + 1 / min(height, width)


@pytest.mark.parametrize("ratio", [0, 1, -0.1, float("nan")])
def test_a_ratio_outside_0_to_1_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="not between 0 and 1"):
        free_form(random.Random(0), ratio, height=8, width=8)


def test_masks_reach_every_part_of_the_image_and_do_not_hug_its_edge() -> None:
    mean = np.mean([draw_mask("large", str(i), height=32, width=32) for i in range(300)], axis=0)
    assert mean.min() > 0.05
    border = np.concatenate([mean[0], mean[-1], mean[:, 0], mean[:, -1]])
    assert border.mean() < mean.mean()


# ------------------------------------------------------------------ greys of a file

GREYS = np.array([[0, 100, 160, 255]], dtype=np.float32)


def test_polarity() -> None:
    white = as_mask(GREYS, file=FILE, hole="white", threshold=0.5)
    black = as_mask(GREYS, file=FILE, hole="black", threshold=0.5)
    assert white.tolist() == [[0, 0, 1, 1]]
    assert black.tolist() == [[1, 1, 0, 0]]
    assert white.dtype == black.dtype == np.float32


def test_the_threshold_is_on_the_hiddenness() -> None:
    assert as_mask(GREYS, file=FILE, hole="white", threshold=0.3).tolist() == [[0, 1, 1, 1]]
    assert as_mask(GREYS, file=FILE, hole="black", threshold=0.3).tolist() == [[1, 1, 1, 0]]


def test_without_threshold_a_mask_stays_soft() -> None:
    soft = as_mask(GREYS, file=FILE, hole="black", threshold=None)
    np.testing.assert_allclose(soft, 1 - GREYS / 255, atol=1e-6)


@pytest.mark.parametrize(("hole", "value", "what"), [
    ("white", 0, "hides nothing"), ("white", 255, "hides the whole image"),
    ("black", 0, "hides the whole image"), ("black", 255, "hides nothing"),
])  # fmt: skip
@pytest.mark.parametrize(("threshold", "given"), [(0.5, "0.5"), (None, "null")])
def test_empty_and_full_masks_are_refused(hole, value, what, threshold, given) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=rf"m\.png: mask {what}.*hole={hole}, threshold={given}\."):
        as_mask(np.full((2, 2), value, np.float32), file=FILE, hole=hole, threshold=threshold)


def test_values_0_and_1_are_refused_with_the_range_found() -> None:
    with pytest.raises(UserError, match="values are 0 to 1 of 255"):
        as_mask(np.eye(2, dtype=np.float32), file=FILE, hole="white", threshold=0.5)


# ------------------------------------------------------------------ scripts/make_masks.py


@pytest.fixture
def make_masks(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    yield __import__("make_masks")
    sys.modules.pop("make_masks")


def test_script_writes_one_mask_per_image_and_keeps_what_is_there(make_masks, tmp_path) -> None:  # type: ignore[no-untyped-def]
    images, out = tmp_path / "images", tmp_path / "masks"
    (images / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.png"):
        Image.new("RGB", (48, 32)).save(images / name)
    assert make_masks.main([str(images), str(out), "--resolution", "64"]) == 0
    first = np.array(Image.open(out / "a.png"))
    assert first.shape == (64, 64)
    assert set(np.unique(first)) == {0, 255}
    assert 0.1 <= (first == 0).mean() <= 0.32  # hole=black by default
    assert np.array(Image.open(out / "sub" / "b.png")).tolist() != first.tolist()

    (out / "a.png").write_bytes(b"kept")
    Image.new("RGB", (48, 32)).save(images / "0.jpg")
    arguments = [str(images), str(out), "--image-size", "--hole", "white", "--masks", "large"]
    assert make_masks.main(arguments) == 0
    assert (out / "a.png").read_bytes() == b"kept"
    third = np.array(Image.open(out / "0.png"))
    assert third.shape == (32, 48)
    assert 0.3 <= (third == 255).mean() <= 0.54


def test_script_reports_what_it_cannot_do(make_masks, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    assert make_masks.main([str(tmp_path), str(tmp_path / "out")]) == 1
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert make_masks.main([str(tmp_path), str(tmp_path / "out"), "--image-size"]) == 1
    assert "bad.png" in capsys.readouterr().err
    Image.new("RGB", (48, 32)).save(tmp_path / "bad.jpg")
    assert make_masks.main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert "share their name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
