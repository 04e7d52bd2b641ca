"""Sweeps before anything is launched."""

import json
import shutil

import pytest
from click.testing import CliRunner

from sde_edit.bench.flops import flops_of
from sde_edit.bench.machine import expected_device
from sde_edit.cli import main
from sde_edit.commands.sweep import check_sweep, plan_sweep
from sde_edit.commands.sweep_plan import describe_sweep
from sde_edit.config import experiment
from sde_edit.datasets.shapes_drags import ShapesDrags
from sde_edit.errors import UserError
from sde_edit.store.runs import RunStore, run_id


def invoke(*arguments, code=0):
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == code, outcome.output
    return outcome.stdout if code == 0 else outcome.output


def test_runs_are_cut_into_shards_of_whole_batches(small):
    sweep = plan_sweep([*small, "sampler=ode,sde", "shards=2"])
    assert len(sweep.runs) == 2
    assert [job.images for job in sweep.jobs] == [
        4,
        2,
        4,
        2,
    ]  # batches of two: first, third; second
    assert [job.overrides[0][-2:] for job in sweep.jobs[:2]] == [
        ("shard=0", "shards=2"),
        ("shard=1", "shards=2"),
    ]
    assert sum(sweep.evaluations) == 2 * 6 * 4
    assert sweep.disk_bytes == 12 * 3 * 64 * 64  # nothing is known yet: uncompressed


def test_more_shards_than_batches_give_no_empty_jobs(small):
    assert [job.images for job in plan_sweep([*small, "shards=8"]).jobs] == [2, 2, 2]


def test_a_run_named_twice_is_one_run(small):
    assert len(plan_sweep([*small, "sampler=sde,sde", "steps=4,4"]).runs) == 1


def test_what_is_finished_is_dropped_and_what_is_begun_goes_on(small, tmp_path):
    invoke("run", *small, "sampler=ode")
    invoke("run", *small, "sampler=sde", "shards=3", "shard=1")
    sweep = plan_sweep([*small, "sampler=ode,sde", "shards=3"])
    assert [job.overrides[0][-2] for job in sweep.jobs] == ["shard=0", "shard=2"]
    text = describe_sweep(sweep)
    assert "1 finished" in text
    assert "| 4 of 6" in text
    assert "sde-edit bench" in text
    sizes = [row.size for run in RunStore(tmp_path).runs() for row in run.rows().values()]
    assert sweep.disk_bytes == round(4 * sum(sizes) / len(sizes))
    other = plan_sweep([*small, "sampler=ode", "data.masks=large"])
    assert other.disk_bytes == 6 * 3 * 64 * 64  # nothing is known of other pictures
    again = plan_sweep([*small, "sampler=ode", "metrics=[psnr,ssim]"])
    assert [job.images for job in again.jobs] == [0]  # a score is missing


def test_hours_are_those_of_the_device_that_the_runs_will_have(small, tmp_path):
    model, here = experiment(small).spec.model.digest, expected_device("cpu", on_gpu=None)
    (tmp_path / "bench").mkdir()
    for device, name, date in (("cpu", here.name, "2026-01-01"), ("cuda", "H100", "2026-02-01")):
        record = {"model_digest": model, "dtype": "float32", "resolution": 64, "date": date}
        record |= {"seconds_per_evaluation": 1.0, "device": device, "device_name": name}
        record |= {"busy": device == "cpu"}
        (tmp_path / "bench" / f"{device}.json").write_text(json.dumps(record))
    text = describe_sweep(plan_sweep([*small, "hardware.device=cpu"]))
    assert f"on {here.name}, measured 2026-01-01 on a busy machine\n" in f"{text}\n"
    text = describe_sweep(plan_sweep([*small, "launcher=slurm", "launcher.gpus=1"]))
    assert "on H100, measured 2026-02-01\n" in f"{text}\n"


def test_a_speed_gives_operations_and_hours_where_there_is_no_benchmark(small, tmp_path):
    flops = flops_of(experiment(small).source.without_weights())
    text = invoke("sweep", *small, "--dry-run", "--tflops", "2e-6")
    assert f"{6 * 4 * flops / 1e18:.4g} EFLOP: {flops / 1e9:.4g} GFLOP an evaluation of s" in text
    hours = 6 * 4 * flops / 2e6 / 3600
    assert f"about {hours:.2f} hours of one worker, by 2e-06 TFLOP/s, which --tflops says" in text
    spec = experiment(small).spec
    record = {"model_digest": spec.model.digest, "dtype": spec.dtype, "resolution": 64}
    record |= {"seconds_per_evaluation": 60.0, "device_name": "X", "date": "2026-01-01"}
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "x.json").write_text(json.dumps(record))
    text = invoke("sweep", *small, "--dry-run", "--tflops", "2e-6")
    assert "about 0.40 hours of one worker, by 60 s per evaluation on X" in text  # measured


def test_a_speed_that_is_none_is_refused(small, image_folder):
    for wrong in ("0", "-1", "inf", "nan"):
        said = invoke("sweep", *small, "--dry-run", "--tflops", wrong, code=1)
        assert f"--tflops {wrong}: must be above 0" in said
    gmm = ["model=gmm", "task=sample", "task.prompt=", "metrics=[]", "data=folder"]
    gmm += [f"data.images={image_folder / 'images'}", "data.resolution=8", small[-1]]
    said = invoke("sweep", *gmm, "--dry-run", "--tflops", "1", code=1)
    assert "model=gmm does not tell the layers of its network" in said


def test_the_plan_says_what_is_shared_and_how_much_memory_that_takes(small):
    arms = ["task=roundtrip", "data=shapes-edits", "task.source_guidance=1.0", "sampler=ode"]
    text = invoke("sweep", *small, *arms, "task.guidance=2.0,3.0", "seed=0,1", "--dry-run")
    rows = 6 * (4 + 2 * 2 * 4)  # once up, and down for each guidance
    assert f"24 images, {rows} network evaluations" in text
    assert "4 runs share 1 ways up to noise" in text


def test_a_plan_of_many_minutes_on_a_cpu_says_that_compiling_pays(small, tmp_path):
    record = {"model_digest": experiment(small).spec.model.digest, "dtype": "float32"}
    record |= {"resolution": 64, "date": "2026-01-01", "device": "cpu", "device_name": "x86"}
    (tmp_path / "bench").mkdir()

    def said(seconds, *overrides):
        content = json.dumps(record | {"seconds_per_evaluation": seconds})
        (tmp_path / "bench" / "cpu.json").write_text(content)
        plan = plan_sweep([*small, "sampler=ode,sde", "hardware.device=cpu", *overrides])
        return "long enough for hardware.compile=true" in describe_sweep(plan)

    evaluations = 48
    assert said(601 / evaluations)
    assert not said(599 / evaluations)
    assert not said(601 / evaluations, "launcher.workers=2")
    assert not said(601 / evaluations, "hardware.compile=true")
    invoke("run", *small, "sampler=ode", "hardware.device=cpu", "data.limit=1")
    assert said(1201 / evaluations)
    assert not said(1199 / evaluations)  # one of the two runs has begun


def test_dry_run_starts_nothing(small, tmp_path):
    text = invoke("sweep", *small, "sampler=ode,sde", "--dry-run")
    assert "12 images, 48 network evaluations" in text
    assert not RunStore(tmp_path).runs()
    invoke("run", *small, "sampler=ode")
    assert "1 runs of" in invoke("sweep", *small, "sampler=ode", "--dry-run")


def test_without_metrics_a_table_of_costs_is_written_and_no_other(tmp_path):
    sweep = plan_sweep([f"paths.results={tmp_path}", "table=table2,table7", "metrics=[]"])
    assert sweep.written.keys() == {"table7"}
    scored = plan_sweep([f"paths.results={tmp_path}", "table=table2,table7"])
    assert scored.written.keys() == {"table2", "table7"}


def test_a_sweep_of_a_table_without_metrics_makes_the_images(small, tmp_path):
    few = ["steps=2", "data.masks=small", "data.limit=1", "metrics=[]"]
    places = invoke("sweep", *small, "table=table2", *few).splitlines()
    assert {*places} == {str(run.path) for run in RunStore(tmp_path).runs() if run.seal}
    assert len(places) == 4  # two samplers, two guidances
    assert not (tmp_path / "tables").exists()


def test_the_job_of_a_group_composes_all_its_runs(small):
    common = [*small, "task=diffedit", "data=shapes-edits", "data.limit=2"]
    sweep = plan_sweep([*common, "task.t_0=0.4,0.8"])
    (job,) = sweep.jobs
    assert "[task.t_0=0.4 | task.t_0=0.8]" in str(job)
    composed = {run_id(experiment(one).spec) for one in job.overrides}
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
    assert "Choose launcher=NAME" in invoke("sweep", *small, "launcher.kind=slurm", code=1)
    far = invoke("sweep", *small, "hardware.device='cuda:99'", code=1)
    assert "hardware.device=cuda:99: this machine has" in far
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda program: None)
        compiled = invoke("sweep", *small, "hardware.compile=true", code=1)
        assert "hardware.compile=true needs a compiler" in compiled
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


def test_a_spec_that_an_older_version_stored_is_completed(small, tmp_path):
    """A finished run is not made again, but its spec states the defaults that its id leaves out."""
    asked = [*small, "task=reconstruct", "sampler=ode", "metrics=[psnr]"]
    invoke("run", *asked)
    (run,) = RunStore(tmp_path).runs()
    file = run.path / "spec.json"
    stored = json.loads(file.read_text())
    defaults = {"sampler": {"inversion_time": "start", "fixed_point": 0}}
    assert stored.pop("defaults") == defaults
    file.write_text(json.dumps(stored))
    invoke("sweep", *asked)
    assert run.spec.defaults == defaults
    assert len(run.attempts()) == 1


def test_a_plan_after_an_interruption_counts_what_each_example_still_costs(small):
    """Of two seeds that are one run, the first has two of four images."""
    arms = ["task=roundtrip", "data=shapes-edits", "sampler=ode", "task.source_guidance=1.0"]
    invoke("run", *small, *arms, "task.guidance=1.0", "data.limit=2", "seed=0", "--no-evaluate")
    whole = [*small, *arms, "task.guidance=1.0", "data.limit=4", "seed=0,1"]
    up_and_down = 4 + 4
    assert sum(plan_sweep(whole).evaluations) == 4 * up_and_down
