"""What every data set owes, whether its files are on this machine or not."""

import pytest

from sde_edit.config import data_set
from sde_edit.contracts.datasets import CHECKS
from sde_edit.registry import names
from tests.builders import box_mask, picture
from tests.contracts.test_configs import GIVEN


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", names("data"))
def test_keeps_to(name, check, tmp_path, own_cache):
    where = [f"data={name}", f"paths.data={tmp_path}", *GIVEN.get(name, [])]
    check(data_set(where)[1])


@pytest.fixture
def files(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for seed, stem in enumerate(("a", "b")):
        picture(64, 64, seed=seed).save(tmp_path / "images" / f"{stem}.png")
        box_mask(64, 64).save(tmp_path / "masks" / f"{stem}.png")
    folder = [f"data.images={tmp_path / 'images'}", f"data.mask_root={tmp_path / 'masks'}"]
    image, mask = (tmp_path / name / "a.png" for name in ("images", "masks"))
    drags = "data.drags=[[[5,6],[20,21]]]"
    return {
        "folder": [*folder, "data.hole=white"],
        "picture": [f"data.image={image}", f"data.mask={mask}", drags],
    }


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ["folder", "picture"])
def test_keeps_to_with_files(name, check, files, own_cache):
    dataset = data_set([f"data={name}", *files[name]])[1]
    assert len(dataset.ids()) == {"folder": 2, "picture": 1}[name]
    check(dataset)
