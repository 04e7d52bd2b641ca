"""diffusers' side of the benchmark."""

import dataclasses

import pytest

from sde_edit.api.spec import ComponentSpec
from sde_edit.bench.counterpart import DiffusersPipeline
from sde_edit.bench.engine import TimedEngine
from sde_edit.bench.measure import bench
from sde_edit.bench.result import as_json, markdown
from sde_edit.bench.synthetic import on_synthetic_data

STEPS, IMAGES = 2, 3


def test_without_a_counterpart_diffusers_is_null_and_says_why(make, tmp_path):
    ours = make("sampler=sde", results=tmp_path)
    other = ComponentSpec("mine", "mine", 1)
    ours = dataclasses.replace(ours, spec=dataclasses.replace(ours.spec, sampler=other))
    measured = bench(ours, images=1, repeats=1)
    record = as_json(measured)
    for suffix in ("", "_batched"):
        assert record[f"diffusers{suffix}_seconds_per_image"] is None
        assert record[f"speedup_vs_diffusers{suffix}"] is None
    assert record["diffusers_reason"] == "diffusers has no scheduler for sampler=mine"
    assert "no scheduler for sampler=mine" in markdown(record)


def test_a_grid_that_diffusers_lacks_has_no_counterpart(make, tmp_path):
    ours = make("sampler=sde", "grid.spacing=logsnr", results=tmp_path)
    assert "no grid.spacing=logsnr" in markdown(as_json(bench(ours, images=1, repeats=1)))


@pytest.mark.parametrize(
    ("sampler", "guidance"), [("ode", 7.5), ("sde", 7.5), ("ode2", 7.5), ("sde2", 7.5), ("sde", 1)]
)
def test_both_sides_send_as_many_rows_through_the_network(make, tmp_path, sampler, guidance):
    composed = make(f"sampler={sampler}", f"task.guidance={guidance}")
    engine = TimedEngine(on_synthetic_data(composed, IMAGES, tmp_path))
    rows = []
    engine.model.unet.register_forward_hook(lambda net, inputs, output: rows.append(len(inputs[0])))
    engine.timed()
    ours = rows.copy()
    rows.clear()
    DiffusersPipeline(engine, engine.ids, engine.at_once).timed()
    assert rows == ours
    assert sum(ours) == engine.evaluations
