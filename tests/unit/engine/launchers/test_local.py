"""Lanes of local workers: what a sweep is told of a worker that has died."""

import multiprocessing
from types import SimpleNamespace

from sde_edit.api.launcher import Job
from sde_edit.engine.launchers import local
from sde_edit.engine.launchers.local import Death, Lane, Local

JOB = Job((("steps=4",),), 2)


def test_a_worker_killed_between_two_jobs_is_reported_with_the_next(tmp_path):
    lane = Lane((), tmp_path / "worker.log")
    lane.connection, theirs = multiprocessing.Pipe()
    theirs.close()  # as the system does when a process dies
    lane.process = SimpleNamespace(exitcode=-9, join=lambda *seconds: None, terminate=lambda: None)
    lane.take(JOB, worker=lambda: None)
    assert lane.receive() == (JOB, Death(-9, lane.log))
    assert lane.process is None  # the next job starts another


def test_workers_share_gpus_and_cores(monkeypatch, tmp_path):
    taken = []
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr(local, "cores", lambda: 16)
    monkeypatch.setattr(
        Local, "_drive", lambda _, jobs, work, lanes, bar: taken.extend(lanes) or {}
    )
    jobs = [Job(((f"seed={k}",),), 1) for k in range(4)]
    Local(workers=4, retries=0).launch(jobs, SimpleNamespace, SimpleNamespace, tmp_path)
    assert [lane.share for lane in taken] == [
        (f"hardware.device=cuda:{k % 2}", "hardware.threads=4") for k in range(4)
    ]
