"""`sde-edit run` on the real code path with a small random Stable Diffusion."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from sde_edit.cli import main
from sde_edit.store.runs import RunStore
from tests.builders import wait_until

TINY = ["steps=4", "metrics=[psnr]", "hardware.threads=1"]


@pytest.fixture
def edit(tiny_model, tmp_path):
    """Call the command line on the small model, results under tmp_path."""

    def call(*overrides, verb="run", code=0, results="results"):
        where = [f"model.path={tiny_model}", f"paths.results={tmp_path / results}"]
        outcome = CliRunner().invoke(main, [verb, *where, *TINY, *overrides])
        assert outcome.exit_code == code, outcome.output
        return outcome.stdout if code == 0 else outcome.output

    return call


def only_run(tmp_path, results="results"):
    (run,) = RunStore(tmp_path / results).runs()
    return run


def pixels(run):
    return {i: np.array(Image.open(run.output(row))) for i, row in run.rows().items()}


def test_second_time_there_is_nothing_left_to_do(edit, tmp_path, caplog):
    caplog.set_level("INFO", logger="sde_edit")
    edit("data.limit=5")
    run = only_run(tmp_path)
    seal, files = run.seal, sorted(run.path.rglob("*"))
    assert (seal.n, seal.of) == (5, 256)
    assert "nothing left to do" not in caplog.text
    edit("data.limit=5")
    assert "all 5 images are there, nothing left to do" in caplog.text
    assert run.seal == seal
    assert sorted(run.path.rglob("*")) == files
    assert run.scores()["psnr"].n == 5
    assert all(row.evaluations == 4 for row in run.rows().values())  # 4 steps at guidance 1
    assert (run.path / "contact.png").is_file()


def test_an_example_is_read_once_to_check_it_and_once_to_edit_it(edit, monkeypatch):
    from sde_edit.datasets.shapes import Shapes

    loaded, load = Counter(), Shapes.load
    monkeypatch.setattr(Shapes, "load", lambda self, i: loaded.update([i]) or load(self, i))
    edit("data.limit=8", "hardware.batch_size=4", "metrics=[]")
    assert list(loaded.values()) == [3] * 6 + [2] * 2  # the contact sheet shows six of them


def test_a_larger_limit_adds_only_what_is_missing(edit, tmp_path):
    edit("data.limit=4", "hardware.batch_size=4")
    before = {i: row.file for i, row in only_run(tmp_path).rows().items()}
    times = {f: f.stat().st_mtime_ns for f in (only_run(tmp_path).path / "outputs").iterdir()}
    edit("data.limit=6", "hardware.batch_size=4")
    run = only_run(tmp_path)
    assert run.seal.n == 6
    assert set(before) < set(run.rows())
    assert all(f.stat().st_mtime_ns == at for f, at in times.items())
    edit("data.limit=6", "hardware.batch_size=4", results="whole")
    assert only_run(tmp_path, "whole").seal == run.seal


def test_shards_together_make_the_same_seal(edit, tmp_path):
    edit("data.limit=6", "hardware.batch_size=1")
    edit("data.limit=6", "hardware.batch_size=1", "shards=2", "shard=0", results="sharded")
    assert only_run(tmp_path, "sharded").seal is None
    edit("data.limit=6", "hardware.batch_size=1", "shards=2", "shard=1", results="sharded")
    assert only_run(tmp_path, "sharded").seal == only_run(tmp_path).seal


def test_batch_size_moves_no_pixel_by_more_than_one(edit, tmp_path):
    edit("data.limit=6", "hardware.batch_size=6")
    edit("data.limit=6", "hardware.batch_size=4", results="other")
    one, other = pixels(only_run(tmp_path)), pixels(only_run(tmp_path, "other"))
    for i in one:
        assert np.abs(one[i].astype(int) - other[i].astype(int)).max() <= 1


def test_kill_9_then_the_same_command_gives_the_same_seal(edit, tiny_model, tmp_path):
    arguments = ["data.limit=12", "hardware.batch_size=2", "steps=20"]
    edit(*arguments, results="whole")
    command = [
        *(sys.executable, "-m", "sde_edit", "run"),
        *(f"model.path={tiny_model}", f"paths.results={tmp_path / 'killed'}"),
        *(*TINY, *arguments),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    outputs = tmp_path / "killed" / "runs"
    deadline = time.monotonic() + 120
    while len(list(outputs.glob("*/outputs/*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run = only_run(tmp_path, "killed")
    assert 0 < len(run.rows()) < 12, "the kill came too early or too late to test anything"
    assert run.seal is None
    edit(*arguments, results="killed")
    assert run.seal == only_run(tmp_path, "whole").seal


def test_a_truncated_output_is_made_again(edit, tmp_path):
    edit("data.limit=4", "hardware.batch_size=4")
    run = only_run(tmp_path)
    seal = run.seal
    victim = run.output(run.rows()["test-000002"])
    victim.write_bytes(victim.read_bytes()[:100])
    edit("data.limit=4", "hardware.batch_size=4")
    assert run.seal == seal
    Image.open(victim).load()


def test_known_pixels_are_pasted_back_when_asked(edit, tmp_path):
    from sde_edit.datasets.shapes import Shapes

    edit("data.limit=2", "task.composite_known=true", "+task.x=1", code=1)
    edit("data.limit=2", "task.composite_known=true")
    run = only_run(tmp_path)
    for example_id, image in pixels(run).items():
        example = Shapes().load(example_id)
        known = example.mask == 0
        np.testing.assert_array_equal(image[known], example.image[known])
        assert (image[~known] != example.image[~known]).any()


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_other_dtypes_and_guidance(edit, tmp_path, dtype, guidance):
    edit("data.limit=1", f"dtype={dtype}", f"task.guidance={guidance}")
    (row,) = only_run(tmp_path).rows().values()
    assert row.evaluations == 4
    assert row.dtype == dtype


def test_every_combination_of_swept_values(edit, tmp_path):
    output = edit("data.limit=1", "sampler=ode,sde,ode2,sde2", "data.masks=small,large")
    runs = RunStore(tmp_path / "results").runs()
    assert len(runs) == 8
    assert all(f"run {run.id}: {run.path}\n" in output for run in runs)
    assert "ode of the same settings" in output


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["sampler=sd"], "no sampler 'sd'. Did you mean 'sde'?"),
        (["task.guidence=3"], "guidence"),
        (["+task.guidence=3"], "Did you mean 'guidance'?"),
        (["steps=1000"], "at most 999"),
        (["grid.spacing=even"], "'trailing', 'logsnr', 'quadratic' or 'karras'"),
        (["data.limit=0"], "data.limit=0"),
        (["hardware.device=cuda:7"], "this machine has no GPU"),
        (["dtype=float8"], "float16, bfloat16"),
        (["metrics=[psnrr]"], "Did you mean 'psnr'?"),
        (["shard=2", "shards=2"], "shard=2"),
        (["task.guidance=high"], "task 'inpaint': task.guidance=high: must be a finite number"),
        (["data=folder"], "data.images must be given"),
        (["wandb.mode=on"], "'online', 'offline' or 'disabled'"),
        (["model.resolution=32"], "works at 32x32"),
    ],
)
def test_mistakes_are_named_before_any_work(edit, tmp_path, overrides, words):
    if "hardware.device=cuda:7" in overrides and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    output = edit(*overrides, code=1)
    assert words in output
    assert not list((tmp_path / "results").rglob("*.png"))


def test_nan_from_the_network_is_an_error_with_the_remedy(edit, tiny_model, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    file = broken / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_out.bias"] += float("nan")
    save_file(weights, file)
    output = edit(f"model.path={broken}", "data.limit=2", code=1)
    assert "test-000000, test-000001: the network gave NaN" in output
    assert "in float32: use more steps or another sampler" in output


def test_a_read_only_results_folder_is_named(edit, tmp_path):
    (tmp_path / "results").write_text("a file where a folder should be")
    assert "paths.results" in edit("data.limit=1", code=1)


def test_wandb_offline_logs_the_run(edit, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    edit("data.limit=2", "wandb=offline")
    (log,) = (tmp_path / "results" / "wandb").glob("offline-run-*/run-*.wandb")
    words = (b"images_per_second", b"network_evaluations", b"psnr", b"guidance", b"examples")
    wait_until(lambda: all(word in log.read_bytes() for word in words))  # wandb's process writes it


def test_provenance_is_written_and_names_no_secret(edit, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "secret-key")
    edit("data.limit=1")
    run = only_run(tmp_path)
    (attempt,) = run.attempts()
    assert attempt.batch_size == 32
    assert attempt.versions["torch"].startswith(torch.__version__.split("+")[0])
    assert "secret-key" not in attempt.to_json()


def test_model_that_cannot_be_had(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    where = f"paths.results={tmp_path}"
    outcome = CliRunner().invoke(
        main, ["run", "model=sd15", "model.path=nobody/nothing", where], catch_exceptions=False
    )
    assert outcome.exit_code == 1
    assert "model.path" in outcome.output
    outcome = CliRunner().invoke(main, ["run", "model.path=/no/such/folder", where])
    assert "no such folder" in outcome.output


def test_works_from_another_folder(edit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    edit("data.limit=1")
    assert Path(only_run(tmp_path).path).is_dir()
