"""Round trips, presets and a table, on small random models and files in the official formats."""

import pytest
from PIL import Image

from tests.e2e.experiments import rows, run


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
