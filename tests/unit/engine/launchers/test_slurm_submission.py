"""What is asked of Slurm, and what becomes of a refusal. Slurm's commands are stand-ins here."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from sde_edit.api.launcher import Job
from sde_edit.cli import main
from sde_edit.commands.run import Worker
from sde_edit.commands.sweep import Finish, plan_sweep
from sde_edit.commands.sweep_plan import describe_sweep
from sde_edit.config import group_file, launcher, plugin_settings
from sde_edit.errors import UserError
from sde_edit.registry import build
from sde_edit.store.runs import RunStore
from tests.builders import ROOT

SMALL = ["steps=4", "data.limit=6", "metrics=[psnr]", "hardware.batch_size=1"]

SBATCH = """#!/usr/bin/env python3
import json, os, pathlib, sys
folder = pathlib.Path(os.environ["FAKE_SLURM"])
script = next((a for a in sys.argv[1:] if a.endswith(".sh")), None)
text = open(script).read() if script else ""
is_finish = "sde-edit-finish" in text
refuses = os.environ.get("REFUSES")
asked = sys.argv[1:] if not script else [l[8:] for l in text.splitlines() if l[:7] == "#SBATCH"]
with open(folder / "sbatch.jsonl", "a") as file:
    file.write(json.dumps(asked) + "\\n")
if refuses == "all" or (refuses == "finish" and is_finish):
    sys.exit("sbatch: error: invalid partition specified: nope\\n"
             "sbatch: error: Batch job submission failed: Invalid partition name specified")
if script:
    number = sum(1 for line in open(folder / "sbatch.jsonl"))
    print(f"Submitted batch job {100 + number}")
"""
SCANCEL = '#!/bin/sh\necho "$@" >> "$FAKE_SLURM/scancel"\n'
SCONTROL = '#!/bin/sh\necho "MaxArraySize            = ${ARRAY:-1001}"\n'


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A folder with stand-ins of Slurm's commands, where they also leave what they were asked."""
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL), ("scontrol", SCONTROL)):
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "bin" / "srun").symlink_to(tmp_path / "bin" / "scancel")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path))
    return tmp_path


def asked(folder: Path) -> list[list[str]]:
    """The options of each script that was submitted."""
    lines = map(json.loads, (folder / "sbatch.jsonl").read_text().splitlines())
    return [options for options in lines if "--test-only" not in options]


def sweep(folder, *overrides, code):
    arguments = ["sweep", *SMALL, f"paths.results={folder / 'results'}", "launcher=slurm"]
    outcome = CliRunner().invoke(main, [*arguments, *overrides], catch_exceptions=False)
    assert outcome.exit_code == code, outcome.output
    return outcome.output


def left_behind(folder):
    return [*RunStore(folder / "results").runs(), *(folder / "results").glob("sweeps/*/*")]


def test_a_refusal_is_one_line_before_anything_is_planned_for(fake, monkeypatch):
    monkeypatch.setenv("REFUSES", "all")
    output = sweep(fake, "launcher.partition=nope", code=1)
    (line,) = [line for line in output.splitlines() if "refused" in line]
    assert "invalid partition specified: nope" in line
    assert "launcher.partition" in line
    assert not left_behind(fake)


def test_a_refused_finish_cancels_the_array_and_leaves_no_sweep(fake, monkeypatch):
    monkeypatch.setenv("REFUSES", "finish")
    assert "refused" in sweep(fake, "shards=2", code=1)
    assert len(asked(fake)) == 2
    assert (fake / "scancel").read_text().split()
    assert not left_behind(fake)


def test_arrays_beyond_the_limit_are_split(fake, monkeypatch):
    monkeypatch.setenv("ARRAY", "4")
    output = sweep(fake, "shards=6", "launcher.parallel=3", code=0)
    *arrays, finish = asked(fake)
    assert [o for options in arrays for o in options if o.startswith("--array")] == [
        "--array=0-3%2",
        "--array=0-1%1",
    ]
    handles = output.split("submitted as ")[1].split(";")[0].split(",")
    assert len(handles) == 2
    assert f"--dependency=afterany:{':'.join(handles)}" in finish


def test_the_job_that_follows_asks_for_little(fake):
    wanted = {"partition": "gpu", "extra": {"gres": "gpu:a100:1", "qos": "high"}}
    raw = plugin_settings("launcher", group_file("launcher", "slurm"))
    slurm = build("launchers", "slurm", raw | wanted | {"finish": {"partition": "cpu"}})
    slurm.launch([Job((("steps=4",),), 1)], Worker, Finish(("steps=4",)), fake / "jobs")
    array, finish = asked(fake)
    assert {"--cpus-per-task=8", "--mem=32768M", "--gpus-per-node=1", "--partition=gpu"} <= {*array}
    assert {"--cpus-per-task=2", "--mem=8192M", "--time=60", "--qos=high"} <= {*finish}
    assert "--partition=cpu" in finish
    assert not [option for option in finish if option.startswith(("--gres", "--gpus"))]


@pytest.mark.parametrize(("of_tasks", "expected"), [(1, 10), (30, 30), (240, 60)])
def test_the_job_that_follows_has_ten_minutes_to_an_hour(fake, of_tasks, expected):
    sweep(fake, f"launcher.minutes={of_tasks}", code=0)
    array, finish = asked(fake)
    assert f"--time={of_tasks}" in array
    assert f"--time={expected}" in finish


@pytest.mark.parametrize("key", ["minutes", "cpus", "parallel"])
def test_a_setting_that_asks_for_nothing_is_named(key):
    with pytest.raises(UserError, match=f"launcher.{key}=0: must be at least 1"):
        launcher(["launcher=slurm", f"launcher.{key}=0"]).check()


def test_the_plan_warns_of_idle_gpus_and_says_the_wall_time(tmp_path, monkeypatch):
    source = "some benchmark"
    monkeypatch.setattr(
        "sde_edit.commands.sweep_plan.estimate_seconds", lambda *_: (6 * 3600.0, source)
    )
    where = [f"paths.results={tmp_path}", "launcher=slurm", "launcher.gpus=4"]
    text = describe_sweep(plan_sweep([*SMALL, *where, "shards=6", "launcher.parallel=4"]))
    assert "about 6.00 hours of one worker" in text
    assert "about 1.50 hours on 4 workers at once" in text
    assert "launcher.gpus=4: a task uses one GPU" in text
    text = describe_sweep(plan_sweep([*SMALL, *where, "shards=2", "launcher.parallel=9"]))
    assert "about 3.00 hours on 2 workers at once" in text
    text = describe_sweep(plan_sweep([*SMALL, f"paths.results={tmp_path}", "launcher.workers=3"]))
    assert "at once" not in text  # one job


def test_jobs_need_not_be_even(tmp_path, monkeypatch):
    monkeypatch.setattr("sde_edit.commands.sweep_plan.estimate_seconds", lambda *_: (3600.0, "one"))
    where = [f"paths.results={tmp_path}", "launcher.workers=2", "hardware.batch_size=4"]
    text = describe_sweep(plan_sweep([*SMALL[:-1], *where, "shards=2"]))
    assert "about 0.67 hours on 2 workers at once" in text  # four images, and two


def test_every_setting_is_in_the_docs():
    text = (ROOT / "docs" / "sweeps.md").read_text()
    for name in ("local", "slurm"):
        for key in group_file("launcher", name).keys() - {"name", "kind"}:
            assert f"`{key}`" in text, key


def test_no_job_is_cut_in_two():
    from sde_edit.engine.launchers.slurm import _cut

    jobs = [Job(((str(k),),), 1) for k in range(5)]
    assert [len(part) for part in _cut(jobs, 2)] == [2, 2, 1]
    assert [job for part in _cut(jobs, 2) for job in part] == jobs


TASK = """
import signal, sys
from sde_edit.engine.launchers.slurm import Resumable
print("imported", flush=True)
sys.stdin.readline()
signal.signal(signal.SIGUSR2, lambda *_: print("told"))  # as submitit does
Resumable(lambda: print("at work"))()
"""


def test_a_task_told_while_it_starts_is_told_when_it_can_be_requeued():
    from sde_edit.engine.launchers.slurm import _PATIENT_PYTHON

    command = [sys.executable, "-c", _PATIENT_PYTHON, "-c", TASK]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as task:
        assert task.stdout.readline() == "imported\n"
        task.send_signal(signal.SIGUSR2)
        assert task.communicate("go\n", timeout=60)[0] == "told\nat work\n"
    assert task.returncode == 0
