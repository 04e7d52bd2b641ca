"""What is foreseen of an edit: its cost, its squares in the photo, its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sde_edit.web.studio.jobs import Foresee, ListSettings
from tests.builders import box_mask, picture

pytestmark = pytest.mark.usefixtures("own_cache")
NO_LINE: Any = None  # for jobs that tell nothing


@pytest.fixture
def base(tiny_model: Path) -> list[str]:
    small = [f"model.path={tiny_model}", "model.resolution=64", "dtype=float32"]
    return [*small, "steps=4", "hardware.threads=1"]


def foreseen(folder: Path, size: tuple[int, int], base: list[str], *more: str, **given: str) -> Any:
    """A drag from (32, 32) to (64, 32), in a photo of this size. given: such as its mask."""
    picture(*size).save(folder / "photo.png")
    drags = [[[32, 32], [64, 32]]]
    photo = {"image": str(folder / "photo.png"), "caption": "a", "drags": drags, **given}
    return Foresee("drag", photo, [*base, "task.lora_steps=0", *more]).do(NO_LINE)


def test_squares_lie_in_the_photo_where_they_are_copied(tmp_path, base):
    """At 128x128 a cell of 8 edited pixels has 16 of the photo: two cells, so two steps, r = 1."""
    found = foreseen(tmp_path, (128, 128), base)
    assert found.r == 1
    assert found.moves == [
        [((16, 16, 32, 32), (32, 16, 32, 32))],
        [((32, 16, 32, 32), (48, 16, 32, 32))],
    ]
    assert any("result is enlarged" in notice for notice in found.notices)


def test_a_mask_that_limits_an_edit_is_told(tmp_path, base):
    def told(**given):
        notices = foreseen(tmp_path, (96, 64), base, **given).notices
        return [one for one in notices if "only the masked part may change" in one]

    box_mask(96, 64, (16, 16, 80, 48)).save(tmp_path / "mask.png")
    assert not told()
    assert len(told(mask=str(tmp_path / "mask.png"))) == 1


def test_the_repeated_border_counts_and_is_not_seen(tmp_path, base):
    """100x64 is edited as 104x64, whose cells have 8 pixels."""
    found = foreseen(tmp_path, (100, 64), base)
    assert found.moves[0] == [((24, 24, 16, 16), (32, 24, 16, 16))]
    assert len(found.moves) == 4


def test_of_a_cropped_photo_the_square_is_edited(tmp_path, base):
    found = foreseen(tmp_path, (96, 64), base, "data.fit=crop")
    left = (96 - 64) // 2
    cell = (32 - left) // 8 * 8 + left
    assert found.moves[0][0][0] == (cell - 8, 24, 16, 16)


def test_two_samplers_cost_twice(tmp_path, base):
    one = foreseen(tmp_path, (96, 64), base, "sampler=sde")
    assert foreseen(tmp_path, (96, 64), base, "sampler=ode,sde").evaluations == 2 * one.evaluations


def test_other_tasks_copy_nothing(tmp_path, base):
    picture().save(tmp_path / "photo.png")
    box_mask().save(tmp_path / "mask.png")
    photo = {name: str(tmp_path / f"{name}.png") for name in ("image", "mask")}
    photo["image"] = str(tmp_path / "photo.png")
    found = Foresee("inpaint", {**photo, "caption": "a"}, base).do(NO_LINE)
    assert (found.r, found.moves, found.evaluations) == (None, [], 8)


def test_settings_have_the_defaults_of_the_studios_overrides(base):
    found = {one.key: one for one in ListSettings(base, "drag", ["ode"]).do(NO_LINE)}
    assert found["steps"].default == "4"
    assert found["steps"].meaning == "network steps of the sampler"
    assert found["task.t_0"].default == "0.6"
    assert found["sampler.fixed_point"].type == "whole number, at least 0"
    assert "task.prompt" not in found


def test_two_samplers_share_no_settings(base):
    keys = [one.key for one in ListSettings(base, "drag", ["ode", "sde"]).do(NO_LINE)]
    assert not [key for key in keys if key.startswith("sampler.")]
