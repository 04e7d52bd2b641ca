"""Images taken to noise and back, from the command line."""

import numpy as np
import pytest

from sde_edit.imaging.files import read_rgb
from sde_edit.store.runs import RunStore
from tests.e2e.experiments import rows, run


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_exact_samplers_return_the_autoencoders_image(tmp_path, tiny_model, dtype):
    """Every call of the network holds as many rows here, so that equal rows give equal numbers."""
    common = ["task=reconstruct", "steps=4", "data.n=3", f"dtype={dtype}", "hardware.batch_size=3"]
    run(tmp_path, *common, "sampler=none,sde,sde2,bdia,ode", f"model.path={tiny_model}")
    bound = {i: row.pixels for i, row in rows(tmp_path, "none").items()}
    for sampler in ("sde", "sde2", "bdia"):
        assert {i: row.pixels for i, row in rows(tmp_path, sampler).items()} == bound
    assert {i: row.pixels for i, row in rows(tmp_path, "ode").items()} != bound


def test_many_times_in_one_call_cost_two_grey_levels_at_most(tmp_path, tiny_model):
    common = ["task=reconstruct", "steps=4", "data.n=3", "hardware.batch_size=12"]
    run(tmp_path, *common, "sampler=none,sde", f"model.path={tiny_model}")
    bound, found = (images(tmp_path, sampler) for sampler in ("none", "sde"))
    assert np.abs(bound - found).max() <= 2


def images(tmp_path, sampler):
    (made,) = [r for r in RunStore(tmp_path / "results").runs() if r.spec.sampler.name == sampler]
    files = [made.output(row) for _, row in sorted(made.rows().items())]
    return np.stack([read_rgb(file) for file in files]).astype(int)


def test_rows_say_evaluations_and_calls(tmp_path, tiny_model):
    """Three images, four steps up and down, guidance, in a batch that may be larger."""
    common = [
        "task=reconstruct",
        "task.guidance=7.5",
        "steps=4",
        "data.n=3",
        f"model.path={tiny_model}",
    ]
    run(tmp_path, *common, "sampler=sde", "hardware.batch_size=12")
    assert {(r.evaluations, r.calls) for r in rows(tmp_path, "sde").values()} == {(16.0, 4 + 4)}
    run(tmp_path, *common, "sampler=edict", "hardware.batch_size=3")
    assert {(r.evaluations, r.calls) for r in rows(tmp_path, "edict").values()} == {(32.0, 16)}


def test_a_task_that_inverts_refuses_a_sampler_without_a_way_back(tmp_path):
    said = run(tmp_path, "task=reconstruct", "sampler=plms", code=1)
    assert "sampler=plms has no way to noise" in said
