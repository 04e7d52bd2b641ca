"""Worker processes on this machine, one per GPU or a given number."""

from __future__ import annotations

import _thread
import logging
import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import ClassVar, NoReturn

import torch
from tqdm import tqdm

from sde_edit.api.launcher import Job, Launched, Work
from sde_edit.errors import UserError
from sde_edit.registry import Count, Natural, plugin
from sde_edit.store.processes import cores
from sde_edit.store.runs import LOG_VARIABLE

log = logging.getLogger("sde_edit")
_SHUTDOWN_SECONDS = 10


@plugin
@dataclass(frozen=True)
class Local:
    """Workers take one job after another and keep their model between jobs.

    workers: null means one per GPU, or one without a GPU. Workers share the CPU cores evenly. A job
    whose worker dies (killed, out of memory) is tried again up to `retries` times by a new worker;
    a job that ends with an error is not.
    """

    workers: Count | None
    retries: Natural
    version: ClassVar[int] = 1
    on_gpu: ClassVar[None] = None

    def check(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UserError(f"launcher.workers={self.workers}: must be at least 1")

    def parallel_jobs(self) -> int:
        return self.workers or max(torch.cuda.device_count(), 1)

    def notices(self) -> Sequence[str]:
        return ()

    def launch(
        self,
        jobs: Sequence[Job],
        worker: Callable[[], Work],
        finish: Callable[[], object],
        folder: Path,
    ) -> Launched:
        gpus = torch.cuda.device_count()
        count = min(self.parallel_jobs(), len(jobs))
        lanes = [Lane(_share(k, count, gpus), folder / f"worker-{k}.log") for k in range(count)]
        total = sum(job.images for job in jobs)
        with _ended(lanes), tqdm(total=total, desc="sweep", unit="img", smoothing=0.05) as bar:
            failures = self._drive(deque(jobs), worker, lanes, bar)
        return Launched(failures)

    def states(self, handle: str) -> Mapping[str, str]:
        """Empty: the launcher waits for local jobs, which have no handle."""
        return {}

    def _drive(
        self,
        waiting: deque[Job],
        worker: Callable[[], Work],
        lanes: Sequence[Lane],
        bar: tqdm[NoReturn],
    ) -> dict[Job, str]:
        """Hand out jobs until none are left; return the failures."""
        failures: dict[Job, str] = {}
        deaths = dict.fromkeys(waiting, 0)
        while True:
            for lane in lanes:
                if waiting and lane.job is None:
                    lane.take(waiting.popleft(), worker)
            busy = [lane for lane in lanes if lane.job is not None]
            if not busy:
                return failures
            ready = wait([lane.connection for lane in busy])
            for lane in busy:
                if lane.connection not in ready:
                    continue
                job, event = lane.receive()
                if isinstance(event, int):
                    bar.update(event)
                elif isinstance(event, Death) and deaths[job] < self.retries:
                    deaths[job] += 1
                    waiting.append(job)
                    log.warning("%s: %s; it is tried again", job, event)
                elif event is not None:
                    failures[job] = str(event)
                    log.error("%s: %s", job, event)


def _share(k: int, count: int, gpus: int) -> tuple[str, ...]:
    """The overrides that give worker k of `count` its share of GPUs and CPU cores."""
    threads = (f"hardware.threads={max(cores() // count, 1)}",) if count > 1 else ()
    return (f"hardware.device=cuda:{k % gpus}", *threads) if gpus else threads


@dataclass(frozen=True)
class Death:
    """A worker process ended unexpectedly."""

    exitcode: int
    log: Path

    def __str__(self) -> str:
        killed = f"killed by signal {-self.exitcode}" + " (out of memory?)" * (self.exitcode == -9)
        how = killed if self.exitcode < 0 else f"exit code {self.exitcode}"
        return f"its worker died, {how}; see {self.log}"


@dataclass
class Lane:
    """A share of the machine and the worker process that uses it."""

    share: tuple[str, ...]
    log: Path
    job: Job | None = None
    process: BaseProcess | None = None
    connection: Connection = field(init=False)

    def take(self, job: Job, worker: Callable[[], Work]) -> None:
        if self.process is None:
            self._start(worker)
        self.job = job
        # A worker that has died since its last job takes none; `receive` then reports its death.
        with suppress(BrokenPipeError, ConnectionResetError):
            shared = tuple((*one, *self.share) for one in job.overrides)
            self.connection.send(replace(job, overrides=shared))

    def _start(self, worker: Callable[[], Work]) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        spawn = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        self.process = spawn.Process(target=_serve, args=(worker, theirs, self.log), daemon=True)
        self.process.start()
        theirs.close()

    def receive(self) -> tuple[Job, int | str | Death | None]:
        """The job and its next event: images made, done (None), an error, the worker's death."""
        assert self.process is not None
        assert self.job is not None
        job, event = self.job, self._next_event()
        if not isinstance(event, int):
            self.job = None
        if isinstance(event, str | Death):
            self.end()  # the error may have made the device unusable for this process
        return job, event

    def _next_event(self) -> int | str | Death | None:
        try:
            event: int | str | None = self.connection.recv()
        except (EOFError, ConnectionResetError):
            assert self.process is not None
            self.process.join()
            return Death(self.process.exitcode or 0, self.log)
        return event

    def end(self) -> None:
        """Stop the worker: an idle one ends when its pipe closes, a busy one is terminated."""
        if self.process is None:
            return
        self.connection.close()
        if self.job is None:
            self.process.join(_SHUTDOWN_SECONDS)
        self.process.terminate()
        self.process.join()
        self.process = None


@contextmanager
def _ended(lanes: list[Lane]) -> Iterator[None]:
    """Context manager: end all workers, however the sweep ends."""
    try:
        yield
    finally:
        for lane in lanes:
            lane.end()


def _serve(worker: Callable[[], Work], connection: Connection, log_file: Path) -> None:
    """Body of a worker process: do jobs until the other end closes the pipe."""
    _write_to(log_file)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work = worker()
    while True:
        try:
            job: Job = connection.recv()
        except EOFError:
            return
        try:
            work(job, connection.send)
            connection.send(None)
        except UserError as error:
            connection.send(str(error))
        except Exception as error:  # noqa: BLE001 - reported to the sweep, which continues
            traceback.print_exc()
            connection.send(f"{type(error).__name__}: {error}; see {log_file}")


def _end_with_parent() -> None:
    """Wait until the sweep has died, however that happened, then end this worker.

    It is interrupted first, so that it records how far it came.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    log.warning("the sweep has ended, and so does its worker")
    _thread.interrupt_main()
    time.sleep(_SHUTDOWN_SECONDS)
    os._exit(1)


def _write_to(log_file: Path) -> None:
    """Redirect the output of this process to its log."""
    os.environ[LOG_VARIABLE] = str(log_file)
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with open(log_file, "ab", buffering=0) as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("sde_edit").setLevel(logging.INFO)
