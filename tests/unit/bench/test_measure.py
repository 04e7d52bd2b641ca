"""The benchmark's numbers hang together; what it stores, a planner finds. No time is judged."""

import pytest
import torch

from sde_edit.bench.measure import bench
from sde_edit.errors import UserError

STEPS, IMAGES = 2, 3


def test_counts_rows_and_calls(record):
    assert record["evaluations_per_image"] == STEPS  # at guidance 1
    assert record["rows_per_call"] == 2
    assert record["calls_per_image"] == pytest.approx(2 * STEPS / IMAGES)  # two batches: 2 + 1
    assert record["batch_size"] == 2
    assert list(record["network_seconds_per_evaluation_by_rows"]) == ["1", "2", "4"]


def test_every_side_is_timed_as_often_over_the_images_it_names(record):
    for side in ("wall", "diffusers", "diffusers_batched"):
        name = f"{side}_seconds_per_image"
        assert len(record[f"{name}_passes"]) == 2
        assert record[f"{name}_images"] == IMAGES
    for suffix in ("", "_batched"):
        ratio = record[f"diffusers{suffix}_seconds_per_image"] / (record["wall_seconds_per_image"])
        assert record[f"speedup_vs_diffusers{suffix}"] == pytest.approx(ratio)
    assert record["diffusers_reason"] is None


def test_says_what_it_was_made_on(record):
    assert record["peak_memory_of"] == "peak resident set of the process"
    assert record["peak_memory_bytes"] > 2**20
    assert set(record["versions"]) == {"sde-edit", "torch", "diffusers"}
    assert record["threads"] == torch.get_num_threads()
    assert record["device_name"]
    assert record["compile"] is False


@pytest.mark.parametrize("wrong", [{"images": 0}, {"repeats": 0}])
def test_refuses_numbers_below_one(make, wrong):
    with pytest.raises(UserError, match="at least 1"):
        bench(make(), **wrong)
