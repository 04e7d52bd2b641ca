"""A rater's answers: lines of JSON that are only ever appended.

The first line says that the rater has agreed to take part, each further one is an answer, or takes
the answer before it back. A line is on the disk before its answer is confirmed, so a killed server
loses none, and a line that a kill cut short is passed over. Every action can be sent again without
effect, as a browser does that got no confirmation.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError

from sde_edit.errors import UserError
from sde_edit.store.files import canonical
from sde_edit.study.trials import Side, Trial


class StaleError(UserError):
    """The page shows another question than the one that is next, as in a second tab."""


@dataclass(frozen=True)
class Consent:
    """The rater has agreed. plan: its digest. agreed: Unix time in seconds."""

    rater: str
    plan: str
    agreed: float


@dataclass(frozen=True)
class Answer:
    """The answer to a question, or None if it was taken back.

    left, right: what was shown, as (place of the arm, place of the item) in the plan. seconds: from
    when both images were seen. at: Unix time in seconds.
    """

    trial: int
    kind: str
    item: int
    left: tuple[int, int]
    right: tuple[int, int]
    choice: Side | None
    seconds: float
    at: float


_LINE: TypeAdapter[Consent | Answer] = TypeAdapter(Consent | Answer)


@dataclass(frozen=True)
class Progress:
    """Where a rater is. answers: by the number of the question. next: the first without an answer.

    may_undo: whether the last action was an answer, which may be taken back.
    """

    consent: Consent | None
    answers: dict[int, Answer]
    next: int
    may_undo: bool


class AnswerFile:
    """The answers of one rater. Several threads and processes may use it at once."""

    def __init__(self, path: Path, rater: str, plan: str, trials: Sequence[Trial]) -> None:
        self.path = path
        self.rater = rater
        self.plan = plan
        self.trials = trials

    def progress(self) -> Progress:
        """What the rater has done so far. Raises UserError for answers to another plan."""
        content = self.path.read_bytes() if self.path.exists() else b""
        return self._progress(content)

    def agree(self) -> Progress:
        """The rater takes part."""
        with self._locked() as file:
            now = self._progress(file.read())
            if now.consent is None:
                _append(file, Consent(self.rater, self.plan, time.time()))
            return self._again(file)

    def answer(self, trial: int, choice: Side, seconds: float) -> Progress:
        """Record an answer. Raises StaleError for a question that is not the next."""
        with self._locked() as file:
            now = self._progress(file.read())
            given = now.answers.get(trial)
            if given is None or given.choice != choice:
                if now.consent is None or trial != now.next or trial >= len(self.trials):
                    raise StaleError("This question has been answered; here is the next one.")
                _append(file, self._record(trial, choice, seconds))
            return self._again(file)

    def undo(self, trial: int) -> Progress:
        """Take back the last answer. Raises StaleError if that is not of this question."""
        with self._locked() as file:
            now = self._progress(file.read())
            if trial in now.answers:
                if not now.may_undo or trial != now.next - 1:
                    raise StaleError("Only the last answer can be taken back, and only once.")
                _append(file, self._record(trial, None, 0.0))
            return self._again(file)

    def _record(self, trial: int, choice: Side | None, seconds: float) -> Answer:
        asked = self.trials[trial]
        left, right = ((edit.arm, edit.item) for edit in (asked.left, asked.right))
        return Answer(trial, asked.kind, asked.item, left, right, choice, seconds, time.time())

    def _again(self, file: BinaryIO) -> Progress:
        file.seek(0)
        return self._progress(file.read())

    def _progress(self, content: bytes) -> Progress:
        consent, given = None, list[Answer]()
        for line in map(_read, content.split(b"\n")):
            if isinstance(line, Consent):
                consent = line
            elif line:
                given.append(line)
        if consent and (consent.plan, consent.rater) != (self.plan, self.rater):
            raise UserError(f"{self.path} holds answers to another plan, or of another rater")
        answers = {line.trial: line for line in given}
        answers = {trial: line for trial, line in answers.items() if line.choice is not None}
        following = next((i for i in range(len(self.trials)) if i not in answers), len(self.trials))
        may_undo = bool(given) and given[-1].choice is not None
        return Progress(consent, answers, following, may_undo)

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The file, for reading from its start and for appending, while nobody else writes it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            yield file


def _append(file: BinaryIO, line: Consent | Answer) -> None:
    """Write a line, after the rest of one that a kill cut short, and wait until it is on disk."""
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.write(b"\n")
    file.write(canonical(asdict(line)).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _read(line: bytes) -> Consent | Answer | None:
    """The record in a line; None if it is empty or cut short."""
    try:
        return _LINE.validate_python(json.loads(line))
    except (ValueError, ValidationError):
        return None
