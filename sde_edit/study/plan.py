"""The plan of a study: fixed, hashed and stored before the first answer.

    <results>/studies/<name>/
        plan.json               a Plan with its SHA-256; written last, and never again
        images/<sha256>.png     what is shown, without metadata
        raters.json             name of a rater -> the secret part of the rater's link
        answers/<rater>.jsonl   what the rater answered; see `answers`

The images are in the folder, so a study needs neither its runs nor its data set any more.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from sde_edit.errors import UserError
from sde_edit.store.files import (
    canonical,
    child,
    read_checked,
    read_regular,
    write_atomic,
    write_checked,
)

QUESTION = "Select the better image."
REPEATS = 0.1  # of the questions are asked again, with the sides swapped
CHECKS = 0.05  # of the questions have an answer that is known
PRACTICE = 3  # questions that do not count


@dataclass(frozen=True)
class Arm:
    """One of the methods that are compared. run: its id. images: SHA-256 over ids and pixels."""

    label: str
    run: str
    images: str


@dataclass(frozen=True)
class Item:
    """An example as raters see it. original, edits: SHA-256 of PNG files; an edit for each arm."""

    id: str
    words: str
    original: str
    edits: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What is asked, of what, and how the answers will be judged.

    items: asked about once for each pair of arms. practice: asked first, and not counted.
    passed: a rater counts who has answered everything and passed this share of the checks.
    raters, half_width: the study is finished when so many raters count and half the main interval
    of every pair is at most that.
    notes: the settings of the runs.
    """

    name: str
    question: str
    guidelines: tuple[str, ...]
    seed: int
    arms: tuple[Arm, ...]
    items: tuple[Item, ...]
    practice: tuple[Item, ...]
    passed: float
    raters: int
    half_width: float
    notes: tuple[str, ...]

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The pairs of arms that are compared, by their places."""
        return tuple(combinations(range(len(self.arms)), 2))

    @property
    def shown(self) -> tuple[Item, ...]:
        """The items, then those for practice."""
        return self.items + self.practice

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the plan."""
        return hashlib.sha256(canonical(asdict(self)).encode()).hexdigest()


_PLAN = TypeAdapter(Plan)
_RATERS = TypeAdapter(dict[str, str])


class Study:
    """The folder of a study."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        return self.folder.name

    @classmethod
    def named(cls, name: str, results: Path) -> Study:
        """The study of this name, which may not exist. Raises UserError for a name with folders."""
        return cls(child(results / "studies", name))

    # -- the plan
    def check_new(self) -> None:
        """Raises UserError if the study exists."""
        if (self.folder / "plan.json").exists():
            raise UserError(
                f"{self.folder} exists, and a plan is never changed: choose another name, or "
                "remove the folder with all its answers"
            )

    def add_image(self, content: bytes) -> str:
        """Store the content of a PNG file; its SHA-256."""
        digest = hashlib.sha256(content).hexdigest()
        write_atomic(self._image(digest), content)
        return digest

    def write(self, plan: Plan) -> None:
        """Seal a plan, whose images are stored."""
        self.add_raters(plan.raters)
        write_checked(self.folder / "plan.json", asdict(plan))

    @cached_property
    def plan(self) -> Plan:
        """Raises UserError if there is no plan, or if it was changed after it was sealed."""
        file = self.folder / "plan.json"
        if not file.exists():
            raise UserError(
                f"no study {self.folder.name!r}: {file} is not there. Plan it with `sde-edit study "
                f"new {self.folder.name} runs=A,B`"
            )
        try:
            return _PLAN.validate_json(json.dumps(read_checked(file)), strict=True)
        except ValidationError as error:
            raise UserError(
                f"{file} was changed after it was sealed, so its answers cannot be trusted. "
                "Restore it"
            ) from error

    def _image(self, digest: str) -> Path:
        return self.folder / "images" / f"{digest}.png"

    @cached_property
    def images(self) -> Mapping[str, Path]:
        """SHA-256 -> the file of every image of the plan."""
        plan = self.plan
        digests = {digest for item in plan.shown for digest in (item.original, *item.edits)}
        return {digest: self._image(digest) for digest in sorted(digests)}

    def check_images(self) -> None:
        """Raises UserError for an image that is missing or not the one of the plan."""
        for digest, file in self.images.items():
            if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
                raise UserError(f"{file} is not the image of the plan. Restore it")

    # -- the raters
    @property
    def raters(self) -> dict[str, str]:
        """Name of a rater -> the secret part of the rater's link."""
        try:
            return _RATERS.validate_json(read_regular(self.folder / "raters.json"), strict=True)
        except FileNotFoundError:
            return {}
        except ValidationError as error:
            raise UserError(f"{self.folder / 'raters.json'} is damaged. Restore it") from error

    def add_raters(self, count: int, kind: str = "rater") -> None:
        """Make links until there are so many raters. kind: what their names begin with."""
        found = self.raters
        for number in range(len(found) + 1, count + 1):
            found[f"{kind}-{number}"] = secrets.token_urlsafe(16)
        text = json.dumps(found, indent=2) + "\n"
        write_atomic(self.folder / "raters.json", text.encode())

    def answers_file(self, rater: str) -> Path:
        """The file of a rater's answers; it may not exist."""
        return child(self.folder / "answers", f"{rater}.jsonl")
