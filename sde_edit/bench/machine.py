"""The machine of a benchmark: the name of its device, and what else it does."""

from __future__ import annotations

import os
from pathlib import Path

from sde_edit.bench.result import Device, Load
from sde_edit.engine import attempt
from sde_edit.errors import UserError


def device_name(device: str) -> str:
    """Like engine.attempt.device_name, but with the CPU's model on Linux."""
    file = Path("/proc/cpuinfo")
    if device == "cpu" and file.exists():
        for line in file.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return attempt.device_name(device)


def expected_device(wanted: str, *, on_gpu: bool | None) -> Device:
    """Where runs with hardware.device=`wanted` will be made, as far as it is known here.

    on_gpu: whether jobs elsewhere get a GPU; None for runs on this machine.
    """
    if on_gpu is not None and wanted == "auto":
        return Device("cuda" if on_gpu else "cpu")
    kind = wanted.partition(":")[0]
    if on_gpu is not None:
        return Device(kind)
    try:
        found = attempt.pick_device(wanted)
    except UserError:  # a GPU that is not here: the runs are refused later, their plan is not
        return Device(kind)
    return Device(found.partition(":")[0], device_name(found))


def present_load() -> Load:
    """The load average of the last minute beside the cores that this process may use."""
    average = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    affinity = getattr(os, "sched_getaffinity", None)  # not on a Mac
    return Load(average, len(affinity(0)) if affinity else os.cpu_count() or 1)
