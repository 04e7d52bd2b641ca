"""Batches of a plan."""

import pytest

from sde_edit.config import experiment
from sde_edit.engine.plan import plan_run
from tests.builders import picture

WIDE, TALL = (96, 64), (64, 80)
SIZES = {"a": WIDE, "b": TALL, "c": WIDE, "d": WIDE, "e": TALL, "f": WIDE}


@pytest.fixture
def mixed(small, tmp_path):
    """Overrides of a run over images of two sizes."""
    for name, (width, height) in SIZES.items():
        picture(width, height).save(tmp_path / f"{name}.png")
    return [
        *small,
        *("task=reconstruct", "task.prompt=''", "data=folder"),
        *(f"data.images={tmp_path}", "data.resolution=64", "data.fit=keep"),
    ]


def test_batches_are_cut_within_one_size_from_the_full_list(mixed):
    batches = plan_run(experiment(mixed), None).batches
    assert batches == (("a", "c"), ("b", "e"), ("d", "f"))


def test_shards_and_a_limit_have_the_batches_of_the_whole(mixed):
    shards = [
        plan_run(experiment([*mixed, "shards=2", f"shard={i}"]), None).batches for i in (0, 1)
    ]
    assert shards == [(("a", "c"), ("d", "f")), (("b", "e"),)]
    limited = plan_run(experiment([*mixed, "data.limit=5"]), None).batches
    assert limited == (("a", "c"), ("b", "e"), ("d",))


def test_a_setting_added_later_enters_the_run_id_only_if_it_is_used(mixed):
    assert "side" not in experiment(mixed).spec.data.params
    assert experiment([*mixed, "data.side=long"]).spec.data.params["side"] == "long"


def test_cropped_images_share_batches(mixed):
    batches = plan_run(experiment([*mixed, "data.fit=crop"]), None).batches
    assert batches == (("a", "b"), ("c", "d"), ("e", "f"))
