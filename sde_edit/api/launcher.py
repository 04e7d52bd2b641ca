"""What a launcher owes: jobs, workers, and where they are done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One shard of one run: the overrides that compose it, and how many images it has to make."""

    overrides: tuple[str, ...]
    images: int

    def __str__(self) -> str:
        return " ".join(self.overrides)


class Work(Protocol):
    """Does jobs, one after the other, in one process."""

    def __call__(self, job: Job, on_images: Callable[[int], None]) -> None:
        """on_images is told how many images more are made. Raises UserError."""


@dataclass(frozen=True)
class Launched:
    """failures: job -> why, of jobs that were waited for. handle: what another program knows jobs
    by that were not (the id of a Slurm array).
    """

    failures: Mapping[Job, str] = field(default_factory=dict)
    handle: str = ""


class Launcher(Protocol):
    """Where the jobs of a sweep are done. Settings are dataclass fields."""

    def check(self) -> None:
        """Raises UserError if nothing can be launched this way here."""

    def launch(
        self,
        jobs: Sequence[Job],
        worker: Callable[[], Work],
        finish: Callable[[], object],
        folder: Path,
    ) -> Launched:
        """Do the jobs; a job that fails or dies leaves the others. Logs go to `folder`.

        `worker` makes the Work of a process. A launcher that does not wait for the jobs has
        `finish` called after them, whatever became of them. Both are picklable.
        """

    def states(self, handle: str) -> Mapping[str, str]:
        """Id of each job of a handle that is not over -> its state, as RUNNING; never blocks long.

        Raises UserError if it cannot be told.
        """
