"""Faults on the real thing: whatever happens on the way, the same seals and the same table."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sde_edit.store.runs import RunStore
from tests.builders import wait_until

pytestmark = pytest.mark.xdist_group("sweeps")  # so that one worker makes the undisturbed one


def workers(process):
    """Process ids of the workers of a sweep: its children that a spawn has made."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    lines = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    return [pid for pid, line in lines.items() if b"spawn_main" in line]


def kill_workers(process, times, rng):
    """Kill a worker of a sweep at random moments; returns how often before it was finished."""
    for killed in range(times):
        time.sleep(rng.uniform(0, 6))
        alive = workers(process) if process.poll() is None else []
        while not alive and process.poll() is None:
            time.sleep(0.05)
            alive = workers(process)
        if process.poll() is not None:
            return killed
        os.kill(rng.choice(alive), signal.SIGKILL)
    return times


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "times"), [(0, 1), (1, 20)], ids=["1", "20"])
def test_workers_killed_at_random_moments(sweeps, undisturbed, tmp_path, seed, times):
    rng, killed, attempt = random.Random(seed), 0, 0
    while killed < times:
        results = tmp_path / str(attempt)
        overrides = ("launcher.workers=2", "launcher.retries=100", "shards=2")
        process = sweeps.start(results, *overrides)
        killed += kill_workers(process, times - killed, rng)
        sweeps.finish(process)
        assert sweeps.outcome(results) == undisturbed
        attempt += 1


def test_a_worker_killed_for_good_leaves_the_others(sweeps, undisturbed, tmp_path):
    process = sweeps.start(tmp_path, "launcher.retries=0")
    sweeps.wait_for_images(tmp_path, 3, process)
    os.kill(workers(process)[0], signal.SIGKILL)
    output = sweeps.finish(process, code=1)
    assert "1 of 2 jobs failed" in output
    assert "killed by signal 9" in output
    assert sorted(run.seal is None for run in RunStore(tmp_path).runs()) == [False, True]
    assert not (tmp_path / "tables").exists()
    sweeps.run(tmp_path)
    assert sweeps.outcome(tmp_path) == undisturbed


@pytest.mark.slow
def test_the_sweep_itself_killed(sweeps, undisturbed, tmp_path):
    process = sweeps.start(tmp_path)
    sweeps.wait_for_images(tmp_path, 5, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    sweeps.run(tmp_path)
    assert sweeps.outcome(tmp_path) == undisturbed


@pytest.mark.slow
def test_two_sweeps_at_once(sweeps, undisturbed, tmp_path):
    process = sweeps.start(tmp_path)
    sweeps.wait_for_images(tmp_path, 1, process)
    sweeps.run(tmp_path)
    sweeps.finish(process)
    assert sweeps.outcome(tmp_path) == undisturbed


def test_a_truncated_output_is_made_again(sweeps, undisturbed, tmp_path):
    sweeps.run(tmp_path)
    run = RunStore(tmp_path).runs()[0]
    victim = run.output(run.rows()["test-000003"])
    victim.write_bytes(victim.read_bytes()[:100])
    assert "1 finished" in sweeps.run(tmp_path, "--dry-run")
    sweeps.run(tmp_path)
    assert sweeps.outcome(tmp_path) == undisturbed


def mount(folder, options):
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 kB. A test enlarges it or makes it read-only by a remount."""
    folder = tmp_path / "disk"
    mount(folder, "size=200k")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up(sweeps, undisturbed, small_disk):
    output = sweeps.run(small_disk, verb="run", code=1)
    assert "No space left on device" in output
    assert "nothing finished is lost" in output
    made = sweeps.images(small_disk)
    assert 0 < made < sweeps.all_images
    assert "will be written" in sweeps.run(small_disk, code=1)  # known before anything starts
    mount(small_disk, "remount,size=50m")
    assert f"{sweeps.all_images - made} images" in sweeps.run(small_disk)
    assert sweeps.outcome(small_disk) == undisturbed


def test_a_read_only_results_folder(sweeps, undisturbed, small_disk):
    mount(small_disk, "remount,size=50m,ro")
    for verb in ("sweep", "run"):
        output = sweeps.run(small_disk, verb=verb, code=1)
        assert "Read-only file system" in output
        assert "paths.results=DIR" in output
    mount(small_disk, "remount,size=50m,rw")
    sweeps.run(small_disk)
    assert sweeps.outcome(small_disk) == undisturbed


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_end_with_a_sweep_that_is_killed(sweeps, tmp_path):
    """They are in the middle of a job, with work for minutes."""
    long = ["steps=400", "launcher.workers=2"]
    process = sweeps.start(tmp_path, *long)
    wait_until(lambda: list(tmp_path.glob("runs/*/attempts/*.json")))
    alive = workers(process)
    assert alive
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(map(is_running, alive)), 40)
    process.stdout.close()
    logs = [file.read_text() for file in tmp_path.glob("sweeps/*/worker-*.log")]
    assert len(logs) == 2
    assert all("the sweep has ended, and so does its worker" in text for text in logs)
