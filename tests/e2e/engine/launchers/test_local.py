"""Workers of this machine whose sweep is killed."""

import os
import signal

from tests.builders import wait_until


def children(pid):
    """Ids of the worker processes of a sweep."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        pids = [int(word) for word in file.read().split()]
    return [child for child in pids if b"spawn_main" in _command(child)]


def _command(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


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
    workers = children(process.pid)
    assert workers
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(map(is_running, workers)), 40)
    process.stdout.close()
    logs = [file.read_text() for file in tmp_path.glob("sweeps/*/worker-*.log")]
    assert len(logs) == 2
    assert all("the sweep has ended, and so does its worker" in text for text in logs)
