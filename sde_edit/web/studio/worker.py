"""Processes that do what takes long or imports much, so that the server itself always answers.

A process does one job after another. It ends when the server does, however that happens.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar

from sde_edit.errors import UserError

log = logging.getLogger("sde_edit")
_CANCEL, _END = "cancel", None
_END_S = 1  # in which a process may end by itself
_NICE = 5  # so that the server and the desktop come first
Result = TypeVar("Result", covariant=True)
Told = Callable[[Any], None]


class Job(Protocol[Result]):
    """Something to do in a worker. It is pickled, so it holds plain values."""

    def do(self, line: Line) -> Result:
        """Raises UserError for what the user can mend, and KeyboardInterrupt if it is cancelled."""


@dataclass(frozen=True)
class _Done:
    result: Any


@dataclass(frozen=True)
class _Failed:
    reason: str


class Line:
    """A worker's line to the server, and what its jobs leave for the next."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.kept: dict[str, Any] = {}
        self.ended = False  # by the server, on purpose or not

    def tell(self, event: object) -> None:
        """Tell the server how far the job is."""
        self._connection.send(event)

    def check(self) -> None:
        """Raises KeyboardInterrupt if the job is cancelled or the server has ended."""
        if self._connection.poll():
            self.next()
            raise KeyboardInterrupt

    def next(self) -> Any:
        """The next thing that the server says; waits for it."""
        try:
            said = self._connection.recv()
        except (EOFError, ConnectionResetError):
            said = _END
        self.ended = said is _END
        return said


# ------------------------------------------------------------------ in the process
def _serve(connection: Connection) -> None:
    """Body of the process: do jobs until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then ends this
    if hasattr(os, "nice"):
        os.nice(_NICE)
    line = Line(connection)
    with suppress(BrokenPipeError):
        while not line.ended:
            job = line.next()
            if job not in (_CANCEL, _END):  # a cancel may come too late
                line.tell(_outcome(job, line))


def _outcome(job: Job[Any], line: Line) -> _Done | _Failed:
    try:
        return _Done(job.do(line))
    except KeyboardInterrupt:
        return _Failed("cancelled")
    except UserError as error:
        return _Failed(str(error))
    except Exception as error:  # noqa: BLE001 - the server goes on, whatever went wrong
        traceback.print_exc()
        what = f"{type(error).__name__}: {error}"
        return _Failed(f"this failed unexpectedly ({what}); the studio's terminal says more")


# ------------------------------------------------------------------ in the server
class Worker:
    """A process that does jobs, one at a time; a new one is started if it has died."""

    def __init__(self) -> None:
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()

    def start(self) -> Connection:
        """Start the process if there is none; returns its line."""
        if self._connection is None:
            self._connection, theirs = multiprocessing.Pipe()
            spawn = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
            self._process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        return self._connection

    async def do(self, job: Job[Result], told: Told = lambda event: None) -> Result:
        """The result of a job; `told` is called with what the job tells meanwhile.

        Raises UserError for a job that failed, and if the process died.
        """
        async with self._turn:
            connection = self.start()
            try:
                connection.send(job)
                while not isinstance(event := await asyncio.to_thread(connection.recv), _Done):
                    if isinstance(event, _Failed):
                        raise UserError(event.reason)
                    told(event)
            except (EOFError, OSError) as error:
                self.end()
                raise UserError(
                    "the process that edits was ended, most likely because the machine ran out of "
                    "memory: use a smaller photo or model, or end what else runs on it"
                ) from error
            return event.result  # type: ignore[no-any-return]

    def cancel(self) -> None:
        """End the present job at the next call of the network."""
        if self._connection is not None:
            self._connection.send(_CANCEL)

    def end(self) -> None:
        """End the process, and whatever it does."""
        if self._process is not None and self._connection is not None:
            with suppress(BrokenPipeError):
                self._connection.send(_END)
            self._process.join(_END_S)
            self._process.terminate()
        self._process = self._connection = None
