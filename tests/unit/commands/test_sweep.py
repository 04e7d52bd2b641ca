"""Sweeps before anything is launched, batches that do not fit, and what `status` makes of it."""

import json
import os
import platform
import shutil

import pytest
import torch
from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.commands.status import describe_status
from sde_edit.commands.sweep import check_sweep, describe_sweep, disk_bytes, plan_sweep
from sde_edit.config import experiment, sweep_overrides
from sde_edit.datasets.shapes_drags import ShapesDrags
from sde_edit.engine.attempt import Attempt
from sde_edit.engine.execute import ModelCache
from sde_edit.engine.memory import AdaptiveBatcher
from sde_edit.engine.plan import group_by_shared_encoding, plan_run
from sde_edit.errors import UserError
from sde_edit.overrides import expand
from sde_edit.store.files import write_atomic
from sde_edit.store.runs import RunStore, run_id

SMALL = ["steps=4", "metrics=[psnr]", "hardware.threads=1", "hardware.batch_size=2"]


@pytest.fixture
def small(tiny_model, tmp_path):
    return [*SMALL, "data.limit=6", f"model.path={tiny_model}", f"paths.results={tmp_path}"]


def invoke(*arguments, code=0):
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == code, outcome.output
    return outcome.stdout if code == 0 else outcome.output


# ------------------------------------------------------------------ plan


def test_a_table_is_its_grid_and_a_grid_is_itself():
    combinations, tables = sweep_overrides(["table=table2,table5", "dtype=bfloat16"])
    assert set(tables) == {"table2", "table5"}
    assert len(combinations) == 24
    assert all("dtype=bfloat16" in overrides for overrides in combinations)
    combinations, tables = sweep_overrides(["steps=25,50", "sampler=ode", "launcher.workers=2"])
    assert combinations == [("steps=25", "sampler=ode"), ("steps=50", "sampler=ode")]
    assert not tables
    with pytest.raises(UserError, match="table2"):
        sweep_overrides(["table=tabel2"])


def test_an_override_of_a_table_goes_to_the_arms_that_name_its_key():
    combinations, _ = sweep_overrides(["table=figure3", "task.r=5", "data=dragbench", "seed=1"])
    by_task = {("task=drag_diffusion" in arm): arm for arm in combinations}
    assert {len(combinations), len(by_task)} == {4, 2}
    assert "task.r=5" in by_task[False]
    assert not any("task.r" in override for override in by_task[True])
    assert all({"data=dragbench", "seed=1"} <= set(arm) for arm in combinations)
    for key in ("steps=10", "sampler=sde"):
        with pytest.raises(UserError, match="tells the arms of figure3 apart"):
            sweep_overrides(["table=figure3", key])


def test_runs_are_cut_into_shards_of_whole_batches(small):
    sweep = plan_sweep([*small, "sampler=ode,sde", "shards=2"])
    assert len(sweep.runs) == 2
    assert [job.images for job in sweep.jobs] == [
        4,
        2,
        4,
        2,
    ]  # batches of two: first, third; second
    assert [job.overrides[-2:] for job in sweep.jobs[:2]] == [
        ("shard=0", "shards=2"),
        ("shard=1", "shards=2"),
    ]
    assert sum(sweep.evaluations) == 2 * 6 * 4 * 2
    assert disk_bytes(sweep) == 12 * 3 * 64 * 64  # nothing is known yet: uncompressed


def test_more_shards_than_batches_give_no_empty_jobs(small):
    assert [job.images for job in plan_sweep([*small, "shards=8"]).jobs] == [2, 2, 2]


def test_a_run_named_twice_is_one_run(small):
    assert len(plan_sweep([*small, "sampler=sde,sde", "steps=4,4"]).runs) == 1


def test_what_is_finished_is_dropped_and_what_is_begun_goes_on(small, tmp_path):
    invoke("run", *small, "sampler=ode")
    invoke("run", *small, "sampler=sde", "shards=3", "shard=1")
    sweep = plan_sweep([*small, "sampler=ode,sde", "shards=3"])
    assert [job.overrides[-2] for job in sweep.jobs] == ["shard=0", "shard=2"]
    text = describe_sweep(sweep)
    assert "1 finished" in text
    assert "| 4 of 6" in text
    assert "sde-edit bench" in text
    sizes = [row.size for run in RunStore(tmp_path).runs() for row in run.rows().values()]
    assert disk_bytes(sweep) == round(4 * sum(sizes) / len(sizes))
    again = plan_sweep([*small, "sampler=ode", "metrics=[psnr,ssim]"])
    assert [job.images for job in again.jobs] == [0]  # a score is missing


def test_dry_run_starts_nothing(small, tmp_path):
    text = invoke("sweep", *small, "sampler=ode,sde", "--dry-run")
    assert "12 images, 96 network evaluations" in text
    assert not RunStore(tmp_path).runs()
    invoke("run", *small, "sampler=ode")
    assert "1 runs of" in invoke("sweep", *small, "sampler=ode", "--dry-run")


def test_runs_that_differ_only_in_t_0_are_grouped_however_they_were_typed(small):
    def group(*each):
        common = [*small, "task=diffedit", "data=shapes-edits"]
        composed = [experiment([*common, *overrides]) for overrides in each]
        return [len(members) for members in group_by_shared_encoding(composed)]

    default = experiment([*small, "task=diffedit", "data=shapes-edits"]).task.t_0
    assert group([], ["task.t_0=0.4"]) == [2]
    assert group(["task.t_0=0.4", "seed=0"], ["seed=0", "task.t_0=0.6"]) == [2]
    assert group(["task.t_0=0.4"], ["task.t_0=0.6", "seed=1"]) == [1, 1]
    assert group(["task.t_0=0.4"], ["task.t_0=0.6", "hardware.batch_size=1"]) == [1, 1]
    assert group(["task.t_0=0.4"], ["task.t_0=0.6", "metrics=[]"]) == [1, 1]
    assert group([], [f"task.t_0={default}"]) == [1, 1]  # one run, named twice


def test_the_job_of_a_group_composes_all_its_runs(small):
    common = [*small, "task=diffedit", "data=shapes-edits", "data.limit=2"]
    sweep = plan_sweep([*common, "task.t_0=0.4,0.8"])
    (job,) = sweep.jobs
    assert [o for o in job.overrides if "t_0" in o] == ["task.t_0=0.4,0.8"]
    composed = {run_id(experiment(one).spec) for one in expand(job.overrides)}
    assert composed == {run_id(run.experiment.spec) for run in sweep.runs}


def test_plan_and_check_decode_each_example_once(small, monkeypatch):
    loaded = []
    load = ShapesDrags.load
    monkeypatch.setattr(ShapesDrags, "load", lambda self, i: loaded.append(i) or load(self, i))
    drags = ["task=drag", "data=shapes-drags", "sampler=ode,sde", "task.lora_steps=0"]
    sweep = plan_sweep([*small, *drags])
    describe_sweep(sweep)
    check_sweep(sweep)
    assert len(loaded) == len(set(loaded)) == 6


# ------------------------------------------------------------------ check


def test_everything_is_checked_before_anything_is_launched(small, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda program: None)
        assert "no sbatch" in invoke("sweep", *small, "launcher=slurm", code=1)
    assert "launcher.workers=0" in invoke("sweep", *small, "launcher.workers=0", code=1)
    assert "retires" in invoke("sweep", *small, "launcher.retires=1", code=1)
    assert "no launcher" in invoke("sweep", *small, "launcher.kind=pbs", code=1)
    other_metric = ("sweep", "table=figure3", f"paths.results={tmp_path}", "metrics=[ssim]")
    assert "goes by psnr or drag_distance, which is not among metrics=[ssim]" in invoke(
        *other_metric, code=1
    )
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"0\.1 MiB will be written and 0\.0 MiB are free"):
        check_sweep(plan_sweep(small))
    assert not RunStore(tmp_path).runs()


def test_an_example_that_cannot_be_edited_is_named(small, tmp_path, tiny_model):
    from PIL import Image

    for folder, size in (("images", (64, 64)), ("masks", (32, 64))):
        (tmp_path / folder).mkdir()
        Image.new("RGB", size, "white").save(tmp_path / folder / "a.png")
    data = [
        *("data=folder", "data.hole=white", "data.resolution=64", "data.masks=m"),
        *(f"data.images={tmp_path / 'images'}", f"data.mask_root={tmp_path}"),
    ]
    (tmp_path / "masks").rename(tmp_path / "m")
    output = invoke("sweep", *small, *data, code=1)
    assert "a.png" in output
    assert not RunStore(tmp_path).runs()


# ------------------------------------------------------------------ memory


def out_of_memory_above(most):
    """An edit that needs more memory than there is for more than `most` images."""
    sizes = []

    def edit(examples):
        sizes.append(len(examples))
        if len(examples) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.tensor([[len(example)] for example in examples])

    return edit, sizes


def test_out_of_memory_halves_the_batch_and_is_remembered(small, caplog):
    chosen = experiment([*small, "hardware.batch_size=10"])
    batch = ["x" * n for n in range(10)]
    edit, sizes = out_of_memory_above(3)
    assert torch.cat(
        AdaptiveBatcher(chosen, "cpu", "drag").map(batch, edit)
    ).flatten().tolist() == list(range(10))
    assert sizes == [10, 5, 2, 2, 2, 2, 2]
    assert "out of memory with 10 images at once: going on with 5" in caplog.text
    edit, sizes = out_of_memory_above(3)
    AdaptiveBatcher(experiment([*small, "hardware.batch_size=10"]), "cpu", "drag").map(batch, edit)
    assert sizes == [2, 2, 2, 2, 2]
    edit, sizes = out_of_memory_above(3)
    AdaptiveBatcher(
        experiment([*small, "hardware.batch_size=10", "dtype=float64"]), "cpu", "drag"
    ).map(batch, edit)
    assert sizes[0] == 10  # another dtype needs other memory
    edit, sizes = out_of_memory_above(3)
    AdaptiveBatcher(chosen, "cpu", "lora").map(batch, edit)
    assert sizes[0] == 10  # and so does other work
    with pytest.raises(UserError, match="does not hold one image"):
        AdaptiveBatcher(chosen, "cpu", "drag").map(batch, out_of_memory_above(0)[0])


def test_a_smaller_batch_size_takes_precedence_over_a_remembered_one(small):
    def size(batch_size):
        chosen = experiment([*small, f"hardware.batch_size={batch_size}"])
        return AdaptiveBatcher(chosen, "cpu", "drag")

    size(4).map("abcd", out_of_memory_above(2)[0])
    assert [size(n).size for n in (1, 2, 8)] == [1, 2, 2]


@pytest.mark.parametrize("task", ["inpaint", "reconstruct"])
def test_out_of_memory_changes_no_result(small, tmp_path, monkeypatch, task):
    """On the real code path: the network refuses more than two rows at once, and a task that asks
    for many times in one call asks for fewer."""
    from sde_edit.networks.latent_diffusion import LoadedStableDiffusion as Loaded

    invoke("run", *small, f"task={task}", "dtype=float64")
    whole = RunStore(tmp_path).runs()[0].seal
    network = Loaded._network

    def refusing(self, x, *rest):
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return network(self, x, *rest)

    monkeypatch.setattr(Loaded, "_network", refusing)
    where = f"paths.results={tmp_path / 'small'}"
    invoke("run", *small, f"task={task}", "dtype=float64", where)
    assert RunStore(tmp_path / "small").runs()[0].seal == whole


# ------------------------------------------------------------------ status


def begin(small, **facts):
    """An attempt that has begun, with facts of its file replaced."""
    chosen = experiment(small)
    run = RunStore(chosen.settings.results).open(chosen.spec)
    attempt = Attempt(chosen, run, plan_run(chosen, run))
    attempt.__enter__()
    file = run.path / "attempts" / f"{attempt.name}.json"
    write_atomic(file, json.dumps(json.loads(file.read_text()) | facts).encode())
    return run


def status(tmp_path):
    return describe_status([f"paths.results={tmp_path}"])


def test_a_run_at_work(small, tmp_path):
    run = begin(small)
    text = status(tmp_path)
    assert run.id in text
    assert "| 0 of 1 | running | 0 of 6 |" in " ".join(text.split())
    assert platform.node() in text


def test_a_process_that_has_gone_died_and_its_log_is_shown(small, tmp_path):
    log = tmp_path / "worker.log"
    log.write_bytes(b"first\n" + b"x\n" * 50 + b"10%\r20%\rlast words\n")
    begin(small, pid=2**22 - 1, log=str(log))
    text = status(tmp_path)
    assert "died" in text
    assert "    last words" in text
    assert "first" not in text
    assert "10%" not in text
    assert "go on with: sde-edit run steps=4" in text


def test_an_error_is_shown(small, tmp_path):
    begin(small, ended=1.0, error="mask.png: 32x32")
    assert "failed: mask.png: 32x32" in status(tmp_path)


def test_a_task_that_slurm_does_not_know_any_more_died(small, tmp_path):
    begin(small, slurm_job="17_3")
    assert "died" in status(tmp_path)


def test_another_machine_is_named_not_asked(small, tmp_path):
    begin(small, host="elsewhere", pid=os.getpid())
    assert "on elsewhere" in status(tmp_path)


def test_status_of_an_empty_folder(tmp_path):
    assert "run" in status(tmp_path)


# ------------------------------------------------------------------ small things


def test_models_are_kept_between_runs(small):
    models = ModelCache()
    first = models.get(experiment(small), "cpu")
    assert models.get(experiment([*small, "steps=9"]), "cpu") is first
    assert models.get(experiment([*small, "dtype=float64"]), "cpu") is not first


def test_the_log_variable_reaches_the_attempt(small, tmp_path, monkeypatch):
    monkeypatch.setenv("SDE_EDIT_LOG", "/logs/7.err")
    run = begin(small)
    assert run.attempts()[0].log == "/logs/7.err"
