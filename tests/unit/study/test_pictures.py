"""What raters see of an example: marks, words, and no metadata."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sde_edit.api.example import Drag, Example
from sde_edit.errors import UserError
from sde_edit.study.pictures import guidelines, store_item
from sde_edit.study.plan import Study
from tests.builders import grey

MASK = np.pad(np.ones((32, 32), np.float32), 16)
DRAG = Drag((10.0, 10.0), (40.0, 10.0))


@pytest.fixture
def edits(tmp_path):
    """Two files with metadata that name the arm."""
    files = [tmp_path / f"{name}.png" for name in ("ode", "sde")]
    for level, file in enumerate(files):
        image = Image.fromarray(grey(100 + level))
        image.save(file, exif=image.getexif(), dpi=(72, 72))
    return files


def stored(study, digest):
    with Image.open(study.folder / "images" / f"{digest}.png") as image:
        return image.copy()


def test_edits_are_enlarged_and_lose_what_is_not_a_pixel(tmp_path, edits):
    study = Study.named("made-up", tmp_path)
    item = store_item(study, Example("a", grey(50)), edits, outlined=False)
    for level, digest in enumerate(item.edits):
        shown = stored(study, digest)
        assert shown.info == {}
        np.testing.assert_array_equal(np.asarray(shown), grey(100 + level, 384))
    np.testing.assert_array_equal(np.asarray(stored(study, item.original)), grey(50, 384))


@pytest.mark.parametrize("outlined", [True, False])
def test_mask_is_outlined_where_the_task_uses_it(tmp_path, edits, outlined):
    study = Study.named("made-up", tmp_path)
    example = Example("a", grey(50), mask=MASK)
    item = store_item(study, example, edits, outlined=outlined)
    assert (np.asarray(stored(study, item.original)) != 50).any() == outlined


def test_large_pictures_keep_their_size(tmp_path):
    file = tmp_path / "edit.png"
    Image.fromarray(grey(9, 512)).save(file)
    study = Study.named("made-up", tmp_path)
    item = store_item(study, Example("a", grey(50, 512)), [file], outlined=False)
    assert stored(study, item.edits[0]).size == (512, 512)


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "edit.png").write_bytes(b"no image")
    study = Study.named("made-up", tmp_path)
    with pytest.raises(UserError, match=r"edit\.png cannot be read as an image"):
        store_item(study, Example("a", grey(1)), [tmp_path / "edit.png"], outlined=False)


@pytest.mark.parametrize(
    ("example", "words", "said"),
    [
        (Example("a", grey(1)), "", []),
        (Example("a", grey(1), "a cat"), "a cat", ["should show"]),
        (Example("a", grey(1), "a cat", target="a dog"), "a cat → a dog", ["what was there"]),
        (Example("a", grey(1), "a cat", drags=(DRAG,)), "a cat", ["arrow", "should show"]),
        (Example("a", grey(1), "a cat", mask=MASK), "a cat", ["outline", "should show"]),
    ],
)
def test_guidelines_speak_of_what_is_there(tmp_path, edits, example, words, said):
    study = Study.named("made-up", tmp_path)
    assert store_item(study, example, edits, outlined=True).words == words
    _, *between, _ = guidelines(example, outlined=True)
    assert len(between) == len(said)
    assert all(part in line for part, line in zip(said, between, strict=True))
