"""A Slurm job array with one task per job, submitted through submitit."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from sde_edit.api.launcher import Job, Launched, Work
from sde_edit.errors import UserError
from sde_edit.registry import Count, Natural, plugin
from sde_edit.store.runs import LOG_VARIABLE

_PATIENCE_S = 10  # how long to wait for Slurm's controller, so that a login node is never blocked
_DEFAULT_ARRAY = 1001  # Slurm's own default of MaxArraySize
# The job that follows has images sealed and scores merged, which shards have measured.
_FINISH_CPUS, _FINISH_GB = 2, 8
_FINISH_LEAST_MINUTES, _FINISH_MOST_MINUTES = 10, 60
_NOT_FOR_FINISH = ("gres", "gpus", "exclusive")
# Starts Python with the signal blocked by which Slurm says that a task's time is up. Until submitit
# can requeue the task, which takes its imports, the signal would kill it; blocked, it waits.
_PATIENT_PYTHON = (
    "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


@plugin
@dataclass(frozen=True)
class Slurm:
    """Each task of the array does one job. A task that reaches its time limit, is preempted or
    loses its node is requeued and resumes.

    minutes, memory_gb, gpus and cpus are per task. `extra` holds further #SBATCH options, `setup`
    shell lines to run before the task. `finish` changes the #SBATCH options of the job that follows
    the tasks, which seals and scores runs and writes tables. signal_seconds: how long before the
    time limit a task is signalled; it should cover the batch under way.
    """

    partition: str | None
    account: str | None
    minutes: Count
    requeues: Natural
    memory_gb: Annotated[float, Field(gt=0)]
    gpus: Natural
    cpus: Count
    parallel: Count
    signal_seconds: Natural
    setup: list[str]
    extra: dict[str, str | int | bool]
    finish: dict[str, str | int | bool]
    version: ClassVar[int] = 1

    @property
    def on_gpu(self) -> bool:
        return self.gpus > 0

    def check(self) -> None:
        for key in ("minutes", "cpus", "parallel"):
            if getattr(self, key) < 1:
                raise UserError(f"launcher.{key}={getattr(self, key)}: must be at least 1")
        if shutil.which("sbatch") is None:
            raise UserError(
                "launcher=slurm: there is no sbatch on this machine. Submit from a login node, use "
                "launcher=local, or try it here with scripts/slurm_local.sh"
            )
        for task in (self._task(1), self._finish_task()):
            _ask_sbatch(task)

    def parallel_jobs(self) -> int:
        return self.parallel

    def notices(self) -> Sequence[str]:
        if self.gpus < 2:
            return ()
        return (
            f"launcher.gpus={self.gpus}: a task uses one GPU, and the other {self.gpus - 1} stand "
            "idle. Use launcher.gpus=1 and more shards",
        )

    def launch(
        self,
        jobs: Sequence[Job],
        worker: Callable[[], Work],
        finish: Callable[[], object],
        folder: Path,
    ) -> Launched:
        arrays: list[str] = []
        try:
            for part in _cut(jobs, _max_array_size()):
                arrays.append(self._submit_array(part, len(jobs), worker, folder))
            after = {"dependency": ":".join(["afterany", *arrays])}
            _submit(folder, "sde-edit-finish", [finish], self._finish_task() | after, self.requeues)
        except UserError:
            _cancel(arrays)
            raise
        return Launched(handle=",".join(arrays))

    def _submit_array(
        self, jobs: Sequence[Job], of: int, worker: Callable[[], Work], folder: Path
    ) -> str:
        """Submit some of `of` jobs as one array, with its share of the parallel tasks."""
        parallel = max(self.parallel * len(jobs) // of, 1)
        works = [JobOf(worker, job) for job in jobs]
        return _submit(folder, "sde-edit", works, self._task(parallel), self.requeues)

    def states(self, handle: str) -> Mapping[str, str]:
        command = ["squeue", "--noheader", "--array", "--jobs", handle, "--format", "%i %T"]
        answer = _ask(command)
        if answer.returncode and "Invalid job id" not in answer.stderr:
            raise UserError(f"squeue: {answer.stderr.strip()}")
        return dict(line.split() for line in answer.stdout.splitlines())

    def _task(self, parallel: int) -> dict[str, Any]:
        """The parameters of submitit for the tasks of an array."""
        return {
            **self._common(),
            "time": self.minutes,
            "mem": _megabytes(self.memory_gb),
            "cpus_per_task": self.cpus,
            "srun_args": [f"--cpus-per-task={self.cpus}"],  # not inherited since Slurm 22.05
            "array_parallelism": parallel,
            **({"gpus_per_node": self.gpus} if self.gpus else {}),
            "additional_parameters": {"requeue": True, **self.extra},
        }

    def _finish_task(self) -> dict[str, Any]:
        """The parameters of submitit for the job that follows: no GPU, and little of the rest."""
        cpus = min(self.cpus, _FINISH_CPUS)
        extra = {k: v for k, v in self.extra.items() if not k.startswith(_NOT_FOR_FINISH)}
        return {
            **self._common(),
            "time": min(max(self.minutes, _FINISH_LEAST_MINUTES), _FINISH_MOST_MINUTES),
            "mem": _megabytes(min(self.memory_gb, _FINISH_GB)),
            "cpus_per_task": cpus,
            "srun_args": [f"--cpus-per-task={cpus}"],
            "additional_parameters": {"requeue": True, **extra, **self.finish},
        }

    def _common(self) -> dict[str, Any]:
        wanted = {"partition": self.partition, "account": self.account}
        return {
            **{key: value for key, value in wanted.items() if value is not None},
            "ntasks_per_node": 1,
            "signal_delay_s": self.signal_seconds,
            "setup": self.setup or None,
        }


def _megabytes(gigabytes: float) -> str:
    return f"{round(gigabytes * 1024)}M"


# ------------------------------------------------------------------ sbatch
def _ask_sbatch(task: Mapping[str, Any]) -> None:
    """Ask sbatch whether it would take a task, without submitting it. Raises UserError if not."""
    own = ("setup", "signal_delay_s", "srun_args", "array_parallelism", "additional_parameters")
    flags = {key: value for key, value in task.items() if key not in own}
    flags |= task["additional_parameters"]
    command = ["sbatch", "--test-only", *_as_flags(flags), "--wrap", "true"]
    answer = _ask(command)
    if answer.returncode:
        raise _refusal(answer.stderr)


def _as_flags(options: Mapping[str, Any]) -> list[str]:
    names = {key: key.replace("_", "-") for key in options}
    return [
        f"--{names[key]}" if value is True else f"--{names[key]}={value}"
        for key, value in options.items()
        if value is not False
    ]


def _refusal(output: str) -> UserError:
    """What sbatch said, on one line."""
    heads = ("sbatch: error: ", "allocation failure: ", "Batch job submission failed: ")
    lines = [line.strip() for line in output.splitlines() if "error" in line or "failure" in line]
    reasons = []
    for line in lines or output.strip().splitlines()[-1:]:
        for head in heads:
            line = line.removeprefix(head)
        reasons.append(line)
    return UserError(
        f"launcher=slurm: sbatch refused the job: {'; '.join(dict.fromkeys(reasons))}. Change "
        "launcher.partition, launcher.account, launcher.minutes or another launcher.* "
        "(docs/sweeps.md lists them); nothing was submitted"
    )


def _ask(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands. Raises UserError if it does not answer in time."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{command[0]} gave no answer: {error}") from error


def _max_array_size() -> int:
    """The most tasks of one array, by the cluster's MaxArraySize."""
    answer = _ask(["scontrol", "show", "config"])
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer.stdout, re.MULTILINE)
    return max(int(found[1]), 1) if found else _DEFAULT_ARRAY


def _cut(jobs: Sequence[Job], size: int) -> list[Sequence[Job]]:
    return [jobs[start : start + size] for start in range(0, len(jobs), size)]


def _submit(
    folder: Path,
    name: str,
    functions: Sequence[Callable[[], object]],
    task: Mapping[str, Any],
    requeues: int,
) -> str:
    """Submit functions as one array; return its id. Raises UserError if sbatch refuses it."""
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError

    python = shlex.join([sys.executable, "-c", _PATIENT_PYTHON])
    executor = SlurmExecutor(folder=folder / "%j", max_num_timeout=requeues, python=python)
    executor.update_parameters(job_name=name, **task)
    try:
        with executor.batch():
            tasks = [executor.submit(Resumable(function)) for function in functions]
    except FailedJobError as error:
        raise _refusal(str(error)) from error
    except OSError as error:
        raise UserError(f"launcher=slurm: cannot submit: {error}") from error
    return str(tasks[0].job_id).partition("_")[0]


def _cancel(arrays: Sequence[str]) -> None:
    """Cancel arrays that would run without what follows them. Raises UserError if that fails."""
    if not arrays:
        return
    answer = _ask(["scancel", *arrays])
    if answer.returncode:
        reason = answer.stderr.strip()
        raise UserError(f"{reason}. Cancel the jobs yourself: scancel {' '.join(arrays)}")


@dataclass(frozen=True)
class JobOf:
    """A job as a function without arguments, which its array task calls."""

    worker: Callable[[], Work]
    job: Job

    def __call__(self) -> None:
        from submitit import JobEnvironment

        os.environ[LOG_VARIABLE] = str(JobEnvironment().paths.stderr)
        self.worker()(self.job, lambda images: None)


@dataclass(frozen=True)
class Resumable:
    """A function that submitit may requeue: it is called again and skips what is done."""

    function: Callable[[], object]

    def __call__(self) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
        log = logging.getLogger("sde_edit")
        log.addHandler(logging.StreamHandler())
        log.setLevel(logging.INFO)
        self.function()

    def checkpoint(self) -> Any:
        """submitit calls this before it requeues the task."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
