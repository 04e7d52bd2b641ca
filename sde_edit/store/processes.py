"""Whether the process that made something is still there, temporary folders named after it, and the
cores that a process has."""

from __future__ import annotations

import os
import platform
import re
import time
from pathlib import Path

# A process of another machine, which cannot be asked, has ended if it did nothing for a day.
_ABANDONED_S = 24 * 3600


def is_gone(pid: str) -> bool:
    """Whether no process of this machine has this id; False for a text that is no id."""
    if not re.fullmatch(r"[1-9][0-9]{0,8}", pid):
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def cores() -> int:
    """How many CPU cores this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return allowed or 1


def has_ended(host: str, pid: str, last_sign: float) -> bool:
    """Whether a process has ended. last_sign: the Unix time at which it last did something."""
    return is_gone(pid) if host == platform.node() else time.time() - last_sign > _ABANDONED_S


def temporary_prefix(what: str) -> str:
    """The start of the name of a temporary folder, which names this process; `tempfile` adds eight
    letters."""
    return f"{what}-{platform.node()}-{os.getpid()}-"


def temporary_folders(parent: Path, what: str) -> dict[Path, bool]:
    """This user's temporary folders for `what`, and whether the process of each has ended."""
    name = re.compile(rf"{re.escape(what)}-(?P<host>.+)-(?P<pid>[0-9]+)-[a-z0-9_]{{8}}")
    found = {folder: name.fullmatch(folder.name) for folder in sorted(parent.glob(f"{what}-*"))}
    return {
        folder: has_ended(match["host"], match["pid"], _last_change(folder))
        for folder, match in found.items()
        if match and folder.is_dir() and not folder.is_symlink() and os.access(folder, os.W_OK)
    }


def _last_change(folder: Path) -> float:
    return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
