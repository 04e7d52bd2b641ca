"""PIE-Bench in small files of both official forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sde_edit.contracts.datasets import CHECKS
from sde_edit.datasets.pie_bench import decoded
from sde_edit.errors import UserError
from tests.builders import picture
from tests.unit.pie_bench_files import (
    BOX,
    FOLDERS,
    KINDS,
    entry,
    hub_row,
    pie_bench,
    write_hub,
    write_mapping,
    write_published,
    write_rows,
)

pytestmark = pytest.mark.usefixtures("own_cache")
WRITE = {"published": write_published, "hub": write_hub}


@pytest.fixture(params=WRITE)
def root(request: Any, tmp_path: Path) -> Path:
    """A data set of six edits in either form."""
    WRITE[request.param](tmp_path / "pie")
    return tmp_path / "pie"


def test_an_edit_has_bare_prompts_and_its_mask(root: Path) -> None:
    data = pie_bench(root)
    assert sorted(data.ids()) == [f"{i:012d}" for i in range(6)]
    example = data.load("000000000004")
    assert (example.caption, example.target) == ("a red cat number 4", "a blue dog number 4")
    assert (example.truth, example.reference, example.words) == (None, None, "cat dog")
    np.testing.assert_array_equal(example.image, np.asarray(picture(512, 512, 4)))
    expected = np.zeros((512, 512), np.float32)
    expected[100:200, 50:350] = 1
    np.testing.assert_array_equal(example.mask, expected)
    assert data.load("000000000002").mask.all()


def test_both_forms_are_the_same_data(tmp_path: Path) -> None:
    for name, write in WRITE.items():
        write(tmp_path / name)
    a, b = (pie_bench(tmp_path / name) for name in WRITE)
    assert a.digest() == b.digest()
    assert list(a.ids()) == list(b.ids())
    assert "PIE-Bench++" in " ".join(b.status().notes)
    assert "PIE-Bench++" not in " ".join(a.status().notes)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_keeps_to_the_contract(root: Path, check: Any) -> None:
    check(pie_bench(root))


def test_a_kind_of_edit_is_a_part_of_all(root: Path) -> None:
    parts = [pie_bench(root, edit=kind) for kind in KINDS]
    assert sorted(i for part in parts for i in part.ids()) == sorted(pie_bench(root).ids())
    assert [pie_bench(root).load(i).caption[-1] for i in sorted(parts[1].ids())] == ["1", "4"]
    assert len({part.digest() for part in parts}) == 3
    assert pie_bench(root).statistics() == {
        "edit": {"colour": 2, "random": 2, "style": 2},
        "images": {"all": 6},
    }
    with pytest.raises(UserError, match=r"^there are 0 examples in .*colour 2, style 2"):
        pie_bench(root, edit="pose").ids()
    with pytest.raises(
        UserError, match=r"^data\.n=3: there are 2 examples .*data\.n=null takes all"
    ):
        pie_bench(root, edit="style", n=3).ids()


@pytest.mark.parametrize(("named", "words"), [
    ("", ""), ("cat dog", "cat dog"), ("cat cat", "cat"), ("Cats blue", "blue"), ("CAT", "CAT"),
    ('["cat,dog", "blue,blue"]', "cat dog blue"),
])  # fmt: skip
def test_words_are_those_that_the_prompts_have(tmp_path: Path, named: str, words: str) -> None:
    write_rows(tmp_path / FOLDERS[0] / "V1.parquet", [hub_row(0, blended_words=named)])
    assert pie_bench(tmp_path).load("000000000000").words == words


def test_masks_are_fitted_with_the_image(root: Path) -> None:
    mask = pie_bench(root, resolution=64).load("000000000000").mask
    assert mask.shape == (64, 64)
    assert mask[13:25, 7:43].all()
    assert mask.sum() < (100 * 300 / 64) * 1.1


def test_a_mask_is_decoded_as_published() -> None:
    def published(encoded: list[int]) -> Any:
        mask = np.zeros(512 * 512)
        for i in range(0, len(encoded), 2):
            for j in range(min(encoded[i + 1], 512 * 512 - encoded[i])):
                mask[encoded[i] + j] = 1
        return mask.reshape(512, 512)

    for runs in ([], BOX, [0, 512 * 512], [512 * 511 + 5, 10_000], [3, 0, 5, 2, 6, 4]):
        np.testing.assert_array_equal(decoded(runs), published(runs))


def test_the_digest_covers_masks_and_images(tmp_path: Path) -> None:
    write_published(tmp_path)
    first = pie_bench(tmp_path).digest()
    entries = {f"{i:012d}": entry(i) for i in range(6)}
    write_mapping(tmp_path, entries | {"000000000000": entry(0, mask=[0, 9])})
    second = pie_bench(tmp_path).digest()
    picture(512, 512, 9).save(tmp_path / "annotation_images" / entry(1)["image_path"])
    assert len({first, second, pie_bench(tmp_path).digest()}) == 3


# ------------------------------------------------------------------ what is refused
@pytest.mark.parametrize("name", [
    "../secret.jpg", "0_random_140/../../x.jpg", "/etc/passwd", "..\\x.jpg", "C:/x.jpg", "", ".",
])  # fmt: skip
def test_no_path_leaves_the_folder(tmp_path: Path, name: str) -> None:
    write_mapping(tmp_path, {"a": entry(0, image_path=name)})
    with pytest.raises(UserError, match=r"mapping_file.json: a: image_path .*below annotation_im"):
        pie_bench(tmp_path).ids()


@pytest.mark.parametrize(("changes", "message"), [
    ({"mask": [1, 2, 3]}, "a: mask must be pairs"),
    ({"mask": [-1, 2]}, "a: mask must be pairs"),
    ({"mask": [512 * 512, 1]}, "a: mask must be pairs of a start below 512x512"),
    ({"mask": [5, -1]}, "a: mask must be pairs"),
    ({"mask": "0 5"}, r"a\.mask"),
    ({"editing_type_id": "10"}, "kind of edit must be a number from 0 to 9"),
    ({"editing_type_id": "x"}, "kind of edit must be a number"),
    ({"editing_prompt": None}, r"a\.editing_prompt"),
])  # fmt: skip
def test_a_bad_entry_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_mapping(tmp_path, {"a": entry(0, **changes)})
    with pytest.raises(UserError, match=message):
        pie_bench(tmp_path).ids()


def test_an_id_that_a_mapping_file_has_twice_is_named(tmp_path: Path) -> None:
    write_mapping(tmp_path, {"a": entry(0), "b": entry(1)})
    file = tmp_path / "mapping_file.json"
    file.write_text(file.read_text().replace('"b"', '"a"'))
    with pytest.raises(UserError, match=r"mapping_file\.json: a is there more than once"):
        pie_bench(tmp_path).ids()


@pytest.mark.parametrize(("changes", "message"), [
    ({"mask": "1 2 3"}, "a: mask must be pairs"),
    ({"mask": "1 two"}, "a: mask must be whole numbers"),
    ({"image": {"bytes": None, "path": "x"}}, r"image\.bytes"),
    ({"image": None}, r"0\.image: Input should be an object\. "),
    ({"image": {"bytes": b"no image", "path": "x"}}, "cannot be read as an image"),
])  # fmt: skip
def test_a_bad_row_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    file = tmp_path / FOLDERS[0] / "V1.parquet"
    write_rows(file, [hub_row(0, id="a", **changes)])
    with pytest.raises(UserError, match=rf"V1\.parquet.*{message}"):
        pie_bench(tmp_path).load("a")


def test_a_bad_parquet_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / FOLDERS[0] / "V1.parquet"
    write_rows(file, [hub_row(0), hub_row(0)])
    with pytest.raises(UserError, match="000000000000 is there more than once"):
        pie_bench(tmp_path).ids()
    write_rows(file, [{k: v for k, v in hub_row(0).items() if k != "mask"}])
    with pytest.raises(UserError, match=r"V1\.parquet: lacks the columns mask"):
        pie_bench(tmp_path).ids()
    file.write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"V1\.parquet: is damaged"):
        pie_bench(tmp_path).ids()
    other = tmp_path / "other"
    write_rows(other / "train" / "V1.parquet", [hub_row(0)])
    with pytest.raises(UserError, match="'train': the kind of edit must be a number"):
        pie_bench(other).ids()


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    write_published(tmp_path, n=1)
    picture(64, 64).save(tmp_path / "annotation_images" / entry(0)["image_path"], "PNG")
    with pytest.raises(UserError, match="is 64x64, and its mask is made for 512x512"):
        pie_bench(tmp_path).load("000000000000")


def test_missing_files_are_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mapping_file\.json.*See docs/data\.md"):
        pie_bench(tmp_path, source="Fetch it.").ids()
    write_mapping(tmp_path, {"a": entry(0)})
    with pytest.raises(UserError, match=r"1 images are not in .*1_artificial: 000000000000\.jpg"):
        pie_bench(tmp_path).ids()
