"""Drags with a LoRA from the command line: fitted once for all arms, resumed, switched off."""

import pytest
import torch
from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.networks.latent_diffusion import LoadedStableDiffusion
from sde_edit.store.runs import RunStore

N = 3


@pytest.fixture
def grid(tmp_path, tiny_model):
    """Overrides of drags of three scenes by a random model."""
    return [
        *("task=drag", "task.m=2", "data=shapes-drags", "steps=6", f"data.limit={N}"),
        *("metrics=[psnr]", "hardware.threads=1", "hardware.batch_size=2"),
        *("task.lora_steps=2", "task.lora_rate=0.1", "dtype=float32"),
        *(f"model.path={tiny_model}", f"paths.results={tmp_path}"),
    ]


def invoke(*overrides, code=0):
    outcome = CliRunner().invoke(main, ["run", *overrides])
    assert outcome.exit_code == code, outcome.output
    return outcome.output


def pixels(results):
    """(sampler, lora_steps, scale at t_0) -> pixels of each image."""
    return {
        (
            run.spec.sampler.name,
            run.spec.task.params["lora_steps"],
            run.spec.task.params["lora_scale_at_t_0"],
        ): {i: row.pixels for i, row in run.rows().items()}
        for run in RunStore(results).runs()
    }


def test_arms_share_the_loras_and_a_switch_leaves_them_out(grid, tmp_path):
    invoke(*grid, "sampler=sde")
    files = {f: f.stat().st_mtime_ns for f in tmp_path.glob("cache/lora/*/*.safetensors")}
    assert len(files) == N
    invoke(*grid, "sampler=ode")
    invoke(*grid, "sampler=sde", "task.lora_scale_at_t_0=1.0")
    assert {f: f.stat().st_mtime_ns for f in tmp_path.glob("cache/lora/*/*.safetensors")} == files
    invoke(*grid, "sampler=sde", "task.lora_steps=0")
    found = pixels(tmp_path)
    assert len(found) == 4
    assert all(len(images) == N for images in found.values())
    assert len({tuple(images.values()) for images in found.values()}) == 4


def test_the_plan_knows_the_evaluations_of_all_drag_steps(grid, tmp_path):
    planned = CliRunner().invoke(main, ["sweep", "--dry-run", *grid, "task.m=null"])
    assert planned.exit_code == 0, planned.output
    invoke(*grid, "task.m=null")
    rows = [row for run in RunStore(tmp_path).runs() for row in run.rows().values()]
    spent = sum(row.evaluations for row in rows)
    assert f"{spent:,.0f} network evaluations" in planned.output
    assert "a LoRA of 2 steps for each image that has none" in planned.output
    assert "task.m_factor=1: the model's latents are" in planned.output
    one_drag_step = 2 * 4 * 2  # both ways, 4 of the 6 steps, guidance
    assert spent > N * one_drag_step


def test_with_loras_of_an_earlier_run_the_images_are_the_same(grid, tmp_path):
    invoke(*grid, "sampler=sde")
    (run,) = RunStore(tmp_path).runs()
    invoke(*grid, "sampler=sde", f"paths.results={tmp_path / 'again'}", "data.limit=2")
    first = pixels(tmp_path)["sde", 2, 0.5]
    assert {i: first[i] for i in sorted(first)[:2]} == pixels(tmp_path / "again")["sde", 2, 0.5]
    for file in list(run.path.glob("rows/*")) + list(run.path.glob("outputs/*")):
        file.unlink()
    (run.path / "SEALED").unlink()
    invoke(*grid, "sampler=sde")
    assert pixels(tmp_path)["sde", 2, 0.5] == first


def test_a_model_without_a_lora_says_what_to_do(grid):
    said = invoke(*grid[:-2], "model=gmm", "model.shape=[3,64,64]", grid[-1], "sampler=ode", code=1)
    assert "set task.lora_steps=0" in said


def test_a_batch_that_memory_does_not_hold_is_fitted_in_halves(grid, tmp_path, monkeypatch):
    grid = [*grid, "sampler=sde", "dtype=float64"]  # another batch rounds otherwise
    invoke(*grid, f"paths.results={tmp_path / 'whole'}")
    plain, sizes = LoadedStableDiffusion.fit_lora, []

    def small(model, x, *rest):
        sizes.append(len(x))
        if len(x) > 1:
            raise torch.OutOfMemoryError
        return plain(model, x, *rest)

    monkeypatch.setattr(LoadedStableDiffusion, "fit_lora", small)
    invoke(*grid)
    assert sizes == [2, 1, 1, 1]
    for name in ("", "whole"):
        assert len(list((tmp_path / name).glob("cache/lora/*/*.safetensors"))) == N
    assert pixels(tmp_path) == pixels(tmp_path / "whole")
