"""Sweeps on a real Slurm of two nodes, and what can happen to them there."""

import os
import re
import shutil
import signal
import subprocess

import pytest
from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.store.runs import RunStore
from tests.builders import ROOT, wait_until

SCRIPT = ROOT / "scripts" / "slurm_local.sh"
SLURM = [
    *("launcher=slurm", "shards=2", "launcher.gpus=0", "launcher.cpus=1"),
    *("launcher.memory_gb=2", "launcher.minutes=10"),
]


def answers():
    """Whether the local Slurm of scripts/slurm_local.sh is running."""
    if shutil.which("squeue") is None or "SLURM_CONF" not in os.environ:
        return False
    return subprocess.run([SCRIPT, "status"], capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.xdist_group("sweeps"),  # so that one worker makes the undisturbed one
    pytest.mark.skipif(
        not answers(), reason='no local Slurm is running: eval "$(scripts/slurm_local.sh start)"'
    ),
]


def slurm(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def submit(sweeps, results, *overrides):
    """Submit the table; returns the id of its job array."""
    output = sweeps.finish(sweeps.start(results, *SLURM, *overrides))
    return re.search(r"submitted as (\d+)", output).group(1)


def tasks(job, state):
    """Ids of the tasks of an array that are in a state."""
    listed = slurm("squeue", "--noheader", "--array", "--format", "%i %T")
    found = [line.split() for line in listed.splitlines()]
    return [task for task, now in found if now == state and task.startswith(f"{job}_")]


def wait_until_over(sweeps):
    """The array and the job that follows it."""
    wait_until(lambda: not slurm("squeue", "--noheader").strip(), 240)


@pytest.fixture(autouse=True)
def _nothing_left_behind():
    yield
    slurm("scancel", "--user", str(os.getuid()))


@pytest.fixture
def at_work(sweeps, tmp_path):
    """A sweep that has made its first images: results folder, array, a task that is running."""
    job = submit(sweeps, tmp_path)
    wait_until(lambda: sweeps.images(tmp_path) >= 1 and tasks(job, "RUNNING"))
    return tmp_path, tasks(job, "RUNNING")[0]


def test_an_array_makes_the_table(sweeps, undisturbed, tmp_path):
    job = submit(sweeps, tmp_path)
    wait_until(lambda: tasks(job, "RUNNING"))
    shown = CliRunner().invoke(main, ["status", f"paths.results={tmp_path}"]).output
    assert re.search(rf"sweep \S+, job {job}: (\d pending, )?\d running", shown), shown
    wait_until_over(sweeps)
    assert sweeps.outcome(tmp_path) == undisturbed


@pytest.mark.slow
def test_a_node_taken_down(sweeps, undisturbed, at_work):
    results, _ = at_work
    slurm(SCRIPT, "kill-node", "n1")
    try:
        wait_until_over(sweeps)
    finally:
        slurm(SCRIPT, "revive-node", "n1")
    assert sweeps.outcome(results) == undisturbed


@pytest.mark.slow
def test_a_task_requeued(sweeps, undisturbed, at_work):
    results, task = at_work
    slurm("scontrol", "requeue", task)
    wait_until_over(sweeps)
    assert sweeps.outcome(results) == undisturbed


def pids_of(results, task):
    """The processes of a task that have begun to work on a run."""
    attempts = [attempt for run in RunStore(results).runs() for attempt in run.attempts()]
    return [attempt.pid for attempt in attempts if attempt.slurm_job == task]


@pytest.mark.slow
def test_a_task_told_that_its_time_is_up(sweeps, undisturbed, at_work):
    """The signal that Slurm sends before the time limit; the task has itself requeued."""
    results, task = at_work
    wait_until(lambda: pids_of(results, task))  # another task may have made the first images
    os.kill(pids_of(results, task)[0], signal.SIGUSR2)
    wait_until_over(sweeps)
    assert sweeps.outcome(results) == undisturbed


@pytest.mark.slow
def test_a_task_cancelled_then_the_same_sweep_again(sweeps, undisturbed, tmp_path):
    """Cancelled while it starts: by its first image a task this small may be over."""
    results, job = tmp_path, submit(sweeps, tmp_path)
    wait_until(lambda: tasks(job, "RUNNING"))
    slurm("scancel", tasks(job, "RUNNING")[0])
    wait_until_over(sweeps)
    assert not (results / "tables").exists()
    assert "partial" in CliRunner().invoke(main, ["status", f"paths.results={results}"]).output
    submit(sweeps, results)
    wait_until_over(sweeps)
    assert sweeps.outcome(results) == undisturbed


@pytest.mark.slow
def test_the_time_limit(sweeps, undisturbed, tmp_path):
    """Tasks are told after 20 s that their minute is up, and requeued until they are done."""
    submit(sweeps, tmp_path, "launcher.minutes=1", "launcher.signal_seconds=40")
    wait_until(lambda: not slurm("squeue", "--noheader").strip(), 600)
    assert sweeps.outcome(tmp_path) == undisturbed
