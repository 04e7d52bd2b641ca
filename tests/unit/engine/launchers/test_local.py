"""Lanes of local workers: what a sweep is told of a worker that has died."""

import multiprocessing
from types import SimpleNamespace

from sde_edit.api.launcher import Job
from sde_edit.engine.launchers.local import Death, Lane

JOB = Job(("steps=4",), 2)


def test_a_worker_killed_between_two_jobs_is_reported_with_the_next(tmp_path):
    lane = Lane((), tmp_path / "worker.log")
    lane.connection, theirs = multiprocessing.Pipe()
    theirs.close()  # as the system does when a process dies
    lane.process = SimpleNamespace(exitcode=-9, join=lambda *seconds: None, terminate=lambda: None)
    lane.take(JOB, worker=lambda: None)
    assert lane.receive() == (JOB, Death(-9, lane.log))
    assert lane.process is None  # the next job starts another
