"""Pairs of images: their choice, their order, and files that are missing or damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sde_edit.errors import UserError
from tests.builders import picture
from tests.unit.coco_files import SIDE, SIZE, Make, N, name

pytestmark = pytest.mark.usefixtures("own_cache")


def test_the_first_n_are_the_first_of_more(pairs: Make) -> None:
    every = pairs().ids()
    for n in range(1, len(every) + 1):
        assert pairs(n=n).ids() == every[:n]
    assert len(set(every)) == len(every)


def test_the_seed_draws(pairs: Make) -> None:
    orders = {tuple(pairs(pairs_seed=seed).ids()) for seed in range(5)}
    assert len(orders) == 5
    assert len({tuple(sorted(order)) for order in orders}) == 1


def test_more_than_there_are_is_refused(pairs: Make) -> None:
    data = pairs(n=50)
    for message in (data.status().problems[0], str(_error(data.ids))):
        assert "data.n=50" in message
        assert "data.n=null" in message


def _error(call: Callable[[], object]) -> UserError:
    with pytest.raises(UserError) as caught:
        call()
    return caught.value


def test_grey_images_become_rgb_and_are_counted(coco: Make, coco_root: Path) -> None:
    picture(*SIZE, 2).convert("L").save(coco_root / "val2017" / name(2))
    status = coco().status()
    assert (status.found, list(status.problems)) == (N, [])
    assert list(status.notes) == [f"1 grey images become RGB: {name(2)}"]
    image = coco().load("000000000002").image
    assert image.shape == (SIDE, SIDE, 3)
    assert (image[..., 0] == image[..., 2]).all()


def test_cmyk_becomes_rgb(coco: Make, coco_root: Path) -> None:
    picture(*SIZE, 2).convert("CMYK").save(coco_root / "val2017" / name(2), quality=95)
    assert not coco().status().problems
    plain = np.array(
        picture(*SIZE, 2).resize((21, 16), Image.Resampling.BICUBIC).crop((2, 0, 18, 16))
    )
    assert np.abs(coco().load("000000000002").image - plain.astype(int)).mean() < 6


def test_an_absent_image_is_refused_by_name(pairs: Make, coco_root: Path) -> None:
    (coco_root / "val2017" / name(4)).unlink()
    data = pairs()
    message = str(_error(data.ids))
    assert f"1 images are not in {coco_root / 'val2017'}: {name(4)}" in message
    assert "docs/data.md" in message
    status = data.status()
    assert status.found < len(json.loads(data.caption_file.read_text())["images"])
    assert name(4) in status.problems[0]
    assert status.remedy


def test_an_absent_image_that_was_not_chosen_is_no_matter(coco: Make, coco_root: Path) -> None:
    last = coco().ids()[-1]
    (coco_root / "val2017" / f"{last}.jpg").unlink()
    assert coco(n=N - 1).status().found == N - 1
    assert len(coco(n=N - 1).digest()) == 64


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_file_that_is_no_image_is_found_by_its_header(
    pairs: Make, coco_root: Path, content: bytes
) -> None:
    (coco_root / "val2017" / name(4)).write_bytes(content)
    (problem,) = pairs().status().problems
    assert problem.startswith("1 images cannot be used")
    assert name(4) in problem


def test_a_file_cut_short_is_named_when_it_is_loaded(pairs: Make, coco_root: Path) -> None:
    path = coco_root / "val2017" / name(4)
    path.write_bytes(path.read_bytes()[:-200])
    bad = {"000000000004", "bison-000013", "bison-000014"}  # 4 is the image of 14, the true of 13
    for example_id in bad & set(pairs().ids()):
        with pytest.raises(UserError, match=rf"{name(4)}: cannot be read as an image"):
            pairs().load(example_id)


def test_exact_refuses_other_sizes(coco: Make, coco_root: Path) -> None:
    data = coco(fit="exact")
    with pytest.raises(UserError, match=r"is 24x18, not 16x16.*data\.fit=crop"):
        data.load("000000000001")
    assert "8 images cannot be used" in data.status().problems[0]
    for i in range(1, N + 1):
        picture(SIDE, SIDE, i).save(coco_root / "val2017" / name(i))
    assert not coco(fit="exact").status().problems
