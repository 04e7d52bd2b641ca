"""The new tasks from the command line, on small random models and files in the official formats."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sde_edit.cli import main
from sde_edit.imaging.files import read_rgb
from sde_edit.store.runs import RunStore


def run(tmp_path, *overrides, verb="run", code=0):
    where = [f"paths.results={tmp_path / 'results'}", "hardware.threads=1", "metrics=[psnr]"]
    outcome = CliRunner().invoke(main, [verb, *overrides, *where])
    assert outcome.exit_code == code, outcome.output
    return outcome.output


def rows(tmp_path, sampler):
    (found,) = [r for r in RunStore(tmp_path / "results").runs() if r.spec.sampler.name == sampler]
    return found.rows()


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
    """Three images, four steps, guidance: the source is one call where a batch may be large."""
    common = ["task=reconstruct", "steps=4", "data.n=3", f"model.path={tiny_model}"]
    run(tmp_path, *common, "sampler=sde", "hardware.batch_size=12")
    assert {(r.evaluations, r.calls) for r in rows(tmp_path, "sde").values()} == {(16.0, 1 + 4)}
    run(tmp_path, *common, "sampler=edict", "hardware.batch_size=3")
    assert {(r.evaluations, r.calls) for r in rows(tmp_path, "edict").values()} == {(32.0, 16)}


def test_a_task_that_inverts_refuses_a_sampler_without_a_way_back(tmp_path):
    said = run(tmp_path, "task=reconstruct", "sampler=plms", code=1)
    assert "sampler=plms has no way to noise" in said


@pytest.mark.parametrize("t_0", [1.0, 0.5])
def test_round_trip_edits_are_scored_against_the_truth(tmp_path, tiny_model, t_0):
    common = ["task=roundtrip", "data=shapes-edits", "data.n=2", f"model.path={tiny_model}"]
    run(tmp_path, *common, "sampler=edict", "steps=4", f"task.t_0={t_0}")
    assert {r.evaluations for r in rows(tmp_path, "edict").values()} == {32 * t_0}


PRESETS = {
    "reconstruct_coco_sd15": "sde",
    "sample_coco_sd2": "plms",
    "roundtrip_bison_sd15": "bdia",
    "diffedit_bison_sd15": "ode",
    "sdedit_bison_sd15": "plms",
    "cyclediffusion_bison_sd15": "sde",
    "p2p_bison_sd15": "sde",
}


@pytest.mark.parametrize(("preset", "sampler"), PRESETS.items())
def test_presets_run_on_official_files(tmp_path, tiny_model, coco, preset, sampler):
    n = 2 if "bison" in preset else 4
    rest = ["data.split=val2017", f"data.n={n}", "dtype=float32", f"model.path={tiny_model}"]
    run(tmp_path, f"experiment={preset}", f"sampler={sampler}", "steps=2", *coco, *rest)
    assert len(rows(tmp_path, sampler)) == n


@pytest.mark.usefixtures("no_workers")
def test_a_table_of_arms_from_sweep_to_sheet(tmp_path, tiny_model):
    small = ["steps=2", "data.n=2", "hardware.batch_size=2", f"model.path={tiny_model}"]
    printed = run(tmp_path, "table=figure4", *small, verb="sweep")
    figures = tmp_path / "results" / "figures"
    assert str(figures / "figure4.png") in printed
    assert (figures / "figure4.svg").read_text().startswith("<svg")
    with Image.open(figures / "figure4.png") as sheet:
        assert sheet.width > 7 * 192  # the original and seven arms
