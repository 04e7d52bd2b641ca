"""The interface of launchers, which run the jobs of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Job:
    """A shard of one run, or of runs that share their encoding.

    overrides: what composes each run, as typed on the command line. images: the number of missing
    ones.
    """

    overrides: tuple[tuple[str, ...], ...]
    images: int

    def __str__(self) -> str:
        """What the runs have in common, then what each has of its own: `a=1 [b=1 | b=2]`."""
        first, *others = self.overrides
        common = [o for o in first if all(o in other for other in others)]
        own = [" ".join(o for o in one if o not in common) for one in self.overrides]
        return " ".join([*common, f"[{' | '.join(own)}]"] if others else common)


class Work(Protocol):
    """Does jobs one after the other in one process."""

    def __call__(self, job: Job, on_images: Callable[[int], None]) -> None:
        """Do a job; call `on_images` with the number of newly made images.

        Raises UserError if the job fails.
        """


@dataclass(frozen=True)
class Launched:
    """The outcome of a launch.

    failures: job -> reason, if the launcher waits for its jobs. handle: otherwise the id by which
    another program, such as Slurm, knows them.
    """

    failures: Mapping[Job, str] = field(default_factory=dict)
    handle: str = ""


class Launcher(Protocol):
    """Runs the jobs of a sweep somewhere. Settings are dataclass fields."""

    @property
    def on_gpu(self) -> bool | None:
        """Whether its jobs get a GPU; None if they run on this machine, as hardware.device says."""

    def check(self) -> None:
        """Raises UserError if this launcher cannot be used on this machine."""

    def parallel_jobs(self) -> int:
        """The most jobs that are at work at once."""

    def notices(self) -> Sequence[str]:
        """What the user should know before jobs start, one message each."""

    def launch(
        self,
        jobs: Sequence[Job],
        worker: Callable[[], Work],
        finish: Callable[[], object],
        folder: Path,
    ) -> Launched:
        """Run the jobs; a job that fails does not stop the others. Logs go to `folder`.

        `worker` creates the Work of a process. A launcher that does not wait for its jobs arranges
        that `finish` is called after them, even if some fail. Both are picklable.
        Raises UserError if no jobs can be started; then none is left behind.
        """

    def states(self, handle: str) -> Mapping[str, str]:
        """Id -> state, such as RUNNING, of a handle's jobs that have not ended; returns soon.

        Raises UserError if the states cannot be read.
        """
