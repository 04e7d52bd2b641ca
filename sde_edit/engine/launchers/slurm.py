"""A Slurm job array with one task per job, submitted through submitit."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from sde_edit.api.launcher import Job, Launched, Work
from sde_edit.errors import UserError
from sde_edit.registry import Count, Natural, plugin
from sde_edit.store.runs import LOG_VARIABLE

_SQUEUE_SECONDS = 10  # longest wait for Slurm's controller, so that no login node is blocked


@plugin
@dataclass(frozen=True)
class Slurm:
    """Each task of the array does one job. A task that reaches its time limit, is preempted or
    loses its node is requeued and resumes.

    minutes, memory_gb, gpus and cpus are per task. `extra` holds further #SBATCH options, `setup`
    shell lines to run before the task. signal_seconds: how long before the time limit a task is
    signalled; it should cover the batch under way.
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
    version: ClassVar[int] = 1

    @property
    def on_gpu(self) -> bool:
        return self.gpus > 0

    def check(self) -> None:
        if shutil.which("sbatch") is None:
            raise UserError(
                "launcher=slurm: there is no sbatch on this machine. Submit from a login node, use "
                "launcher=local, or try it here with scripts/slurm_local.sh"
            )

    def launch(
        self,
        jobs: Sequence[Job],
        worker: Callable[[], Work],
        finish: Callable[[], object],
        folder: Path,
    ) -> Launched:
        array = self._executor(folder, name="sde-edit")
        with array.batch():
            tasks = [array.submit(Resumable(JobOf(worker, job))) for job in jobs]
        handle = str(tasks[0].job_id).partition("_")[0]
        last = self._executor(folder, name="sde-edit-finish", dependency=f"afterany:{handle}")
        last.submit(Resumable(finish))
        return Launched(handle=handle)

    def states(self, handle: str) -> Mapping[str, str]:
        command = ["squeue", "--noheader", "--array", "--jobs", handle, "--format", "%i %T"]
        try:
            answer = subprocess.run(
                command, capture_output=True, text=True, timeout=_SQUEUE_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(f"squeue gave no answer: {error}") from error
        if answer.returncode and "Invalid job id" not in answer.stderr:
            raise UserError(f"squeue: {answer.stderr.strip()}")
        return dict(line.split() for line in answer.stdout.splitlines())

    def _executor(self, folder: Path, *, name: str, dependency: str | None = None) -> Any:
        from submitit import SlurmExecutor

        executor = SlurmExecutor(folder=folder / "%j", max_num_timeout=self.requeues)
        wanted = {
            "partition": self.partition,
            "account": self.account,
            "gpus_per_node": self.gpus or None,
            "dependency": dependency,
        }
        executor.update_parameters(
            job_name=name,
            time=self.minutes,
            mem=f"{round(self.memory_gb * 1024)}M",
            cpus_per_task=self.cpus,
            ntasks_per_node=1,
            array_parallelism=self.parallel,
            signal_delay_s=self.signal_seconds,
            setup=self.setup or None,
            srun_args=[f"--cpus-per-task={self.cpus}"],  # not inherited since Slurm 22.05
            additional_parameters={"requeue": True, **self.extra},
            **{key: value for key, value in wanted.items() if value is not None},
        )
        return executor


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
        log = logging.getLogger("sde_edit")
        log.addHandler(logging.StreamHandler())
        log.setLevel(logging.INFO)
        self.function()

    def checkpoint(self) -> Any:
        """submitit calls this before it requeues the task."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
