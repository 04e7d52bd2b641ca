"""A worker does jobs, tells of them, and its death is told as a sentence."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Pipe

import pytest

from sde_edit.errors import UserError
from sde_edit.web.studio.worker import Line, Worker


@dataclass(frozen=True)
class Echo:
    """Tells what it has, and ends in one of several ways."""

    what: str
    end: str = ""

    def do(self, line: Line) -> str:
        line.tell(self.what)
        if self.end == "user":
            raise UserError("choose another")
        if self.end == "bug":
            raise ZeroDivisionError("by zero")
        if self.end == "death":
            os.kill(os.getpid(), signal.SIGKILL)
        while self.end == "cancel":
            line.check()
            time.sleep(0.01)
        before: str = line.kept.get("what", "")
        line.kept["what"] = self.what
        return before


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.end()


def test_what_a_job_leaves_is_there_for_the_next(worker):
    told: list[str] = []

    async def two() -> list[str]:
        first = await worker.do(Echo("a"), told.append)
        return [first, await worker.do(Echo("b"), told.append)]

    assert asyncio.run(two()) == ["", "a"]
    assert told == ["a", "b"]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("user", "^choose another$"),
        ("bug", "failed unexpectedly .ZeroDivisionError: by zero"),
        ("death", "ran out of memory"),
    ],
)
def test_a_job_that_fails_is_a_sentence_and_the_next_is_done(worker, end, message):
    async def two() -> str:
        with pytest.raises(UserError, match=message):
            await worker.do(Echo("a", end))
        return await worker.do(Echo("b"))

    assert asyncio.run(two()) == ""


def test_a_job_is_cancelled_and_a_late_cancel_harms_nothing(worker):
    async def three() -> str:
        with pytest.raises(UserError, match="cancelled"):
            await worker.do(Echo("a", "cancel"), lambda event: worker.cancel())
        worker.cancel()
        return await worker.do(Echo("b"))

    assert asyncio.run(three()) == ""


def test_a_job_ends_when_the_server_has_ended():
    ours, theirs = Pipe()
    line = Line(theirs)
    line.check()
    ours.close()
    with pytest.raises(KeyboardInterrupt):
        line.check()
    assert line.ended


def test_a_busy_process_ends_by_itself(worker):
    async def ended() -> None:
        with pytest.raises(UserError):
            await worker.do(Echo("a", "cancel"), lambda event: worker.end())

    asyncio.run(ended())
    assert asyncio.run(worker.do(Echo("b"))) == ""
