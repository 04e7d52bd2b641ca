"""The process that works on a run: its device and its record."""

from __future__ import annotations

import os
import platform
import time
import uuid
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch

from sde_edit.engine.plan import Plan
from sde_edit.errors import UserError
from sde_edit.networks.base import check_compiler
from sde_edit.store.files import write_atomic
from sde_edit.store.runs import LOG_VARIABLE, AttemptRecord, Run

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment, Settings


def pick_device(wanted: str) -> str:
    """Resolve `auto` to cuda, else cpu. Raises UserError for a device that is missing.

    From here on float32 is float32: torch would have a GPU convolve in TF32, with 10 bits of 23,
    networks and metrics alike.
    """
    torch.backends.cudnn.allow_tf32 = False
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = wanted.partition(":")
    devices = torch.cuda.device_count()
    if kind == "cuda" and int(index or 0) >= devices:
        there = [f"cuda:{k}" for k in range(devices)]
        raise UserError(
            f"hardware.device={wanted}: this machine has {', '.join(there) or 'no GPU'}; "
            f"use {', '.join([*there, 'cpu'])} or auto"
        )
    return wanted


def check_machine(settings: Settings) -> None:
    """Raises UserError if this machine lacks the device or the compiler that the settings need."""
    device = pick_device(settings.device)
    if settings.compile:
        check_compiler(torch.device(device))


class Attempt:
    """Records in attempts/<name>.json that this process works on one shard of a run.

    The record is written at the start, and again at the end with how it ended.
    """

    def __init__(self, experiment: Experiment, run: Run, plan: Plan) -> None:
        self.device = pick_device(experiment.settings.device)
        _set_up_torch(experiment.settings.threads)
        self.name = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:8]}"
        self._path = run.attempt_file(self.name)
        self._record = self._begin(experiment, plan)

    def _begin(self, experiment: Experiment, plan: Plan) -> AttemptRecord:
        settings = experiment.settings
        return AttemptRecord(
            attempt=self.name,
            overrides=experiment.overrides,
            host=platform.node(),
            pid=os.getpid(),
            slurm_job=slurm_job(),
            log=os.environ.get(LOG_VARIABLE),
            device=self.device,
            device_name=device_name(self.device),
            batch_size=settings.batch_size,
            threads=torch.get_num_threads(),
            compile=settings.compile,
            shard=settings.shard,
            shards=settings.shards,
            images=len(plan.missing),
            versions={p: version(p) for p in ("sde-edit", "torch", "diffusers", "transformers")},
            started=time.time(),
        )

    def __enter__(self) -> Attempt:
        self._write()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> None:
        self._record = replace(self._record, ended=time.time(), error=_reason(kind, error))
        try:
            self._write()
        except UserError:
            if kind is None:
                raise  # otherwise the error under way says more than the full disk

    def _write(self) -> None:
        write_atomic(self._path, self._record.to_json().encode())


def _set_up_torch(threads: int | None) -> None:
    if threads:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # denormal numbers slow a CPU down a hundredfold


def _reason(kind: type[BaseException] | None, error: object) -> str | None:
    """Why an attempt ended early. Anything but an Exception is a signal, such as Ctrl-C."""
    if kind is None:
        return None
    return str(error) or kind.__name__ if issubclass(kind, Exception) else "interrupted"


def slurm_job() -> str | None:
    """This process's Slurm array task as `<job>_<task>`, else its job id; None outside Slurm."""
    job, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return f"{job}_{task}" if job and task else os.environ.get("SLURM_JOB_ID")


def device_name(device: str) -> str:
    """The name of the GPU, or the type of the CPU."""
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return platform.processor() or platform.machine()
