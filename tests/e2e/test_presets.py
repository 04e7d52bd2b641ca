"""Round trips, presets and tables, on small random models and files in the official formats."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image

from sde_edit.cli import main
from tests.e2e.experiments import rows, run
from tests.unit.pie_bench_files import write_hub, write_published


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


# ------------------------------------------------------------------ PIE-Bench


@pytest.mark.parametrize("write", [write_published, write_hub])
def test_the_preset_of_pie_bench_runs_on_official_files(tmp_path, tiny_model, write):
    write(tmp_path / "pie", n=3)
    files = [f"data.root={tmp_path / 'pie'}", "data.resolution=64", "model.resolution=64"]
    own = ["task.blend_cells=2", "dtype=float32", f"model.path={tiny_model}", "steps=4"]
    run(tmp_path, "experiment=p2p_pie_sd14", "sampler=sde", *files, *own)
    assert len(rows(tmp_path, "sde")) == 3


def table(tmp_path, tiny_model, *overrides):
    """The blocks of table=pie-bench by title, in a few steps on the CPU."""
    small = ["steps=2", "hardware.threads=1", "dtype=float32", f"model.path={tiny_model}"]
    where = f"paths.results={tmp_path / 'results'}"
    outcome = CliRunner().invoke(main, ["sweep", "table=pie-bench", *small, *overrides, where])
    assert outcome.exit_code == 0, outcome.output
    written = json.loads((tmp_path / "results" / "tables" / "pie-bench.json").read_text())
    return {block["title"]: block for block in written["blocks"]}


@pytest.mark.usefixtures("no_workers")
def test_the_table_of_pie_bench_runs_without_a_download(tmp_path, tiny_model):
    blocks = table(tmp_path, tiny_model, "data.limit=2", "data.edit=shape,add")
    embedded = ("truth_error", "background_psnr", "shapes_background_lpips", "background_ssim")
    for title in embedded:
        for row in blocks[title]["rows"]:
            assert all(cell["value"] is not None for cell in row["cells"]), (title, row["label"])


@pytest.mark.usefixtures("no_workers")
def test_the_table_of_pie_bench_on_official_files_has_the_published_numbers(tmp_path, tiny_model):
    write_published(tmp_path / "pie", n=3)
    blocks = table(
        tmp_path, tiny_model, "model=sd14", f"model.path={tiny_model}", "model.resolution=64",
        "data=pie-bench", f"data.root={tmp_path / 'pie'}", "data.resolution=64", "data.edit=any",
        "data.limit=3", "metrics=[background_psnr,background_mse]",
    )  # fmt: skip
    labels = {row["label"] for block in blocks.values() for row in block["rows"]}
    assert {"P2P-ODE", "P2P-SDE", "Paper Direct Inversion + P2P"} <= labels
    of_arms = blocks["background_psnr"]["rows"]
    assert all(row["cells"][0]["value"] is not None for row in of_arms)
