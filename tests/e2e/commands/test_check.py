"""`sde-edit check`: what it says of runs that would work, and of those that would not."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from sde_edit.cli import main
from sde_edit.commands import check as check_module
from sde_edit.config import experiment
from sde_edit.engine.execute import ModelCache
from sde_edit.engine.plan import plan_run
from sde_edit.metrics.frechet import Frechet
from sde_edit.registry import names
from sde_edit.tasks.inpaint import Inpaint
from tests.unit.dragbench_files import write_100
from tests.unit.pie_bench_files import write_published

SMALL = ["steps=2", "dtype=float32", "hardware.threads=1", "hardware.batch_size=2"]


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Runs the command and says what it prints; fails if it leaves something behind."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    results = tmp_path / "results"

    def run(*overrides, code):
        where = [f"paths.results={results}", f"paths.data={tmp_path / 'data'}"]
        outcome = CliRunner().invoke(main, ["check", *overrides, *where], catch_exceptions=False)
        assert outcome.exit_code == code, outcome.output
        assert not list(results.glob("runs/*"))
        assert not list(results.glob(".check-*"))
        assert not (results / "cache").exists()
        return outcome.output

    return run


@pytest.fixture
def pictures(tmp_path):
    """Three pictures of 64x64 with masks, as overrides of data=folder."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        for seed in range(3):
            pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
            if name == "masks":
                pixels = np.where(pixels[..., 0] < 128, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{seed}.png")
    return [f"data.images={tmp_path / 'images'}"]


def test_the_embedded_model_ends_well_and_says_what_it_takes(check):
    output = check(*SMALL, "data.limit=50", "sampler=ode,sde", code=0)
    assert "100 images, 200 network evaluations, about 0.0" in " ".join(output.split())
    assert re.search(r"[\d.]+ MiB of disk, [\d.]+ GiB of memory", output)
    assert "nothing is missing" in output


def test_the_wall_time_is_that_of_the_workers_that_have_jobs(check):
    small = [*SMALL, "data.limit=8", "metrics=[psnr]", "launcher.workers=4"]
    assert "of one process, 0.00 of 2 at once" in check(*small, "sampler=ode,sde", code=0)
    assert "at once" not in check(*small, code=0)


def test_an_encoding_that_runs_share_is_counted_once(check):
    both = ["task=sdedit", "data=shapes-edits", "data.limit=4", "metrics=[psnr]"]
    output = check(*SMALL, *both, "task.t_0=0.5,1.0", code=0)
    assert "8 images" in output


def test_a_sampled_table_is_checked_run_by_run(check, tiny_model):
    small = [*SMALL, "data.limit=4", "data.masks=small", "metrics=[psnr]"]
    output = check("table=table2", f"model.path={tiny_model}", *small, "sampler=ode", code=1)
    assert "tells the arms" in output


def test_every_missing_thing_is_named_at_once(check):
    output = check("experiment=inpaint_places_sd15", "model.path=nobody/nothing", code=1)
    assert "data=places" in output
    assert re.search("model.path=nobody/nothing .*could not be fetched", output)
    assert "hf download nobody/nothing" in output
    assert "metric 'lpips': cannot fetch" in output
    assert "metric 'psnr'" not in output


def test_the_official_files_that_are_missing_are_named(check, pictures):
    output = check("experiment=ddib_imagenet_adm", code=1)
    assert "data=imagenet" in output
    assert "lacks 256x256_diffusion.pt and 256x256_classifier.pt" in output
    output = check("experiment=sample_scribble_sd15", *pictures, code=1)
    assert "model.control=lllyasviel/sd-controlnet-scribble is no folder" in output


def test_a_metric_without_weights_is_named(check):
    output = check(*SMALL, "metrics=[psnr,lpips]", code=1)
    assert "missing:" in output
    assert "metric 'lpips': cannot fetch" in output


@pytest.mark.parametrize("task", ["inpaint", "diffedit"])
def test_first_calls_do_not_count_and_preparations_do(tmp_path, tiny_model, monkeypatch, task):
    """The clock shows 50 and 2 seconds for the passes, then 30 and 0.5 for measuring."""
    clock = iter([50.0, 2.0, 30.0, 0.5])
    monkeypatch.setattr(check_module, "wall_seconds", lambda work, _: (work(), next(clock))[1])
    data = "shapes-edits" if task == "diffedit" else "shapes"
    given = [*SMALL, f"task={task}", f"data={data}", f"model.path={tiny_model}", "metrics=[psnr]"]
    whole = experiment(given)
    trial = check_module._try(whole, plan_run(whole, None), tmp_path, ModelCache())
    assert trial.scoring == 0.5
    if task == "inpaint":
        assert trial.seconds == 1.0
    else:  # the masks took what was not spent on the edits
        assert 11.0 < trial.seconds < 26.0


@pytest.mark.parametrize(
    ("loaded", "batch_size", "expected"),
    [(4, 16, 4 + 6 * 8), (4, 2, 10), (4, 1, 10), (0, 16, 10)],
    ids=["GPU", "as tried", "one by one", "CPU"],
)
def test_memory_of_a_gpu_is_extrapolated_and_said_to_be(
    monkeypatch, tiny_model, loaded, batch_size, expected
):
    monkeypatch.setattr(check_module, "peak_memory", lambda device: (10, "peak"))
    whole = experiment([*SMALL, f"model.path={tiny_model}", f"hardware.batch_size={batch_size}"])
    small = replace(whole, settings=replace(whole.settings, limit=2))
    plans = plan_run(small, None), plan_run(whole, None)
    memory, memory_of = check_module._memory(small, plans, "cuda", loaded)
    assert memory == expected
    is_scaled = expected != 10
    assert memory_of == ("peak, extrapolated from batches of 2 to 16" if is_scaled else "peak")


def test_metrics_of_a_population_are_tried_on_two_images(check, tiny_model):
    small = [*SMALL, "data.limit=3", f"model.path={tiny_model}"]
    assert "nothing is missing" in check(*small, "metrics=[shapes_fid,shapes_kid]", code=0)


def test_a_metric_that_cannot_be_scored_is_named(check, tiny_model, monkeypatch):
    nan = torch.full((1,), torch.nan, dtype=torch.float64)
    monkeypatch.setattr(Frechet, "aggregate", lambda *_: nan)
    small = [*SMALL, "data.limit=3", f"model.path={tiny_model}"]
    output = check(*small, "metrics=[shapes_fid,psnr]", code=1)
    assert "metric 'shapes_fid': its value is not finite" in output
    assert "metric 'psnr'" not in output


def test_a_setting_may_act_on_none_of_the_two_examples(check, monkeypatch):
    acts_on = iter([False, False, True])
    monkeypatch.setattr(
        Inpaint, "without_effect", lambda *_: () if next(acts_on, False) else ("no effect",)
    )
    output = check(*SMALL, "hardware.loaders=1", "data.n=3", "metrics=[psnr]", code=0)
    assert "3 images" in output


def test_an_example_that_cannot_be_used_is_named(check, pictures, tmp_path):
    Image.new("RGB", (32, 64)).save(tmp_path / "images" / "2.png")
    data = ["data=folder", *pictures, f"data.mask_root={tmp_path / 'masks'}", "data.hole=white"]
    output = check(*SMALL, *data, "data.resolution=64", "data.fit=exact", "metrics=[psnr]", code=1)
    assert "2.png" in output


def test_a_launcher_that_cannot_be_used_is_named(check, monkeypatch):
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "sbatch" else which(name))
    output = check(*SMALL, "launcher=slurm", "data.limit=2", "metrics=[psnr]", code=1)
    assert "no sbatch" in output
    assert "in all 2 images" in output


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    arguments = ["check", *SMALL, "data.limit=2", f"paths.results={tmp_path / 'file'}"]
    outcome = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert outcome.exit_code == 1
    assert "paths.results" in outcome.output


@pytest.fixture
def scribbles(pictures, tmp_path):
    """The pictures with a white line on black and a caption each."""
    (tmp_path / "hints").mkdir()
    for i in range(3):
        hint = Image.new("L", (64, 64))
        hint.paste(255, (8, 20 * i, 56, 20 * i + 2))
        hint.save(tmp_path / "hints" / f"{i}.png")
    texts = {f"{i}.png": f"picture {i}" for i in range(3)}
    (tmp_path / "captions.json").write_text(json.dumps(texts))
    captions = f"data.captions={tmp_path / 'captions.json'}"
    return [*pictures, f"data.hints={tmp_path / 'hints'}", captions]


@pytest.mark.parametrize("preset", names("experiment"))
def test_every_preset_ends_well_on_small_files_in_the_official_formats(
    check, preset, coco, imagenet, pictures, scribbles, tmp_path,
    tiny_model, tiny_xl, tiny_control, tiny_ddpm, tiny_adm
):  # fmt: skip
    masks = [f"data.mask_root={tmp_path}", "data.masks=masks", "data.hole=white"]
    folder = [*pictures, "data.resolution=64", *masks, "model.resolution=64"]
    path, xl = f"model.path={tiny_model}", f"model.path={tiny_xl}"
    dragbench = write_100(tmp_path / "dragbench", "bear", [[8, 8]], [[16, 8]], (64, 64)).parent
    small_coco = [*coco, "data.split=val2017"]
    write_published(tmp_path / "pie", n=2)
    given = {
        "debug": [],
        "inpaint_places_sd15": [*folder, path],
        "inpaint_places_sdxl": [*folder, xl],
        "drag_dragbench_sdxl": [
            *(f"data.root={dragbench}", "data.resolution=64", "model.resolution=64", xl),
            *("task.m=1", "task.lora_steps=1"),
        ],
        "sample_cifar10": [
            *(*pictures, "data.resolution=16", "data.fit=crop", "model.resolution=16"),
            f"model.path={tiny_ddpm}",
        ],
        "sample_coco_sd2": [*small_coco, path, "data.n=2"],
        "reconstruct_coco_sd15": [*small_coco, path, "data.n=4"],
        "p2p_pie_sd14": [
            *(f"data.root={tmp_path / 'pie'}", "data.resolution=64", "model.resolution=64"),
            *(path, "task.blend_cells=2"),
        ],
        "ddib_imagenet_adm": [*imagenet, f"model.path={tiny_adm}"],
        "sample_scribble_sd15": [
            *(*scribbles, "data.resolution=64", "model.resolution=64"),
            *(path, f"model.control={tiny_control}"),
        ],
    }.get(preset, [*small_coco, path])
    output = check(f"experiment={preset}", *given, *SMALL, "metrics=[psnr]", code=0)
    assert "nothing is missing" in output
