"""One process at work on a run: its device, and what it leaves on record of itself."""

from __future__ import annotations

import json
import os
import platform
import time
import uuid
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch

from sde_edit.engine.plan import Plan
from sde_edit.errors import UserError
from sde_edit.store.files import write_atomic
from sde_edit.store.runs import LOG_VARIABLE, Run

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment


def pick_device(wanted: str) -> str:
    """`auto` is cuda, then mps, then cpu. Raises UserError for a device that is not there."""
    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind = wanted.split(":")[0]
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, kind == "cpu"):
        raise UserError(f"hardware.device={wanted}: there is none on this machine; use cpu or auto")
    return wanted


class Attempt:
    """One process at work on one shard of a run, in attempts/<name>.json: who it is and, once it
    has ended, how. Provenance, not identity. One without an end was killed or is still at work.
    """

    def __init__(self, experiment: Experiment, run: Run, plan: Plan) -> None:
        settings = experiment.settings
        self.device = pick_device(settings.device)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        torch.set_flush_denormal(True)  # denormal numbers slow a CPU down a hundredfold
        torch.backends.cudnn.allow_tf32 = False  # float32 is to mean float32, in convolutions too
        self.name = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:8]}"
        self._path = run.path / "attempts" / f"{self.name}.json"
        self._facts = {
            "attempt": self.name,
            "overrides": list(experiment.overrides),
            "host": platform.node(),
            "pid": os.getpid(),
            "slurm_job": slurm_job(),
            "log": os.environ.get(LOG_VARIABLE),
            "device": self.device,
            "device_name": device_name(self.device),
            "batch_size": settings.batch_size,
            "threads": torch.get_num_threads(),
            "compile": settings.compile,
            "shard": settings.shard,
            "shards": settings.shards,
            "images": len(plan.missing),
            "versions": {p: version(p) for p in ("sde-edit", "torch", "diffusers", "transformers")},
            "started": time.time(),
        }

    def __enter__(self) -> Attempt:
        self._write()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> None:
        self._facts["ended"] = time.time()
        if kind is not None:
            known = issubclass(kind, Exception)  # else a signal: Ctrl-C, or a requeue on its way
            self._facts["error"] = str(error) or kind.__name__ if known else "interrupted"
        try:
            self._write()
        except UserError:
            if kind is None:
                raise  # else the error under way says more than a disk that takes no note of it

    def _write(self) -> None:
        write_atomic(self._path, (json.dumps(self._facts, indent=2) + "\n").encode())


def slurm_job() -> str | None:
    """`<job>_<task>` of the Slurm array task this process belongs to, or the plain job id."""
    job, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return f"{job}_{task}" if job and task else os.environ.get("SLURM_JOB_ID")


def device_name(device: str) -> str:
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return platform.processor() or platform.machine()
