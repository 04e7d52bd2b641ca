"""Leases on batches, so that two processes on one run do not make the same images twice.

    <run>/leases/<batch>           the name of the attempt that works on the batch
    <run>/leases/<attempt>.alive   "<host> <pid>"; touched for as long as the attempt lives

A lease holds while its attempt is alive: until it ends, until its process is gone from this
machine, or until its file has not been touched for `EXPIRY_S`. Ages are differences of two times of
the file system, so that the clocks of the machines need not agree. A lease only saves work: should
two processes hold one, both make the same images.
"""

from __future__ import annotations

import os
import platform
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path

from sde_edit.store.files import (
    DamagedFileError,
    cannot_write,
    read_regular,
    safe_name,
    short_digest,
)
from sde_edit.store.processes import has_ended, is_gone
from sde_edit.store.runs import Run

# Network file systems may show a time that is a minute old.
EXPIRY_S = 150.0
_TOUCH_S = 15.0


class Leases:
    """The leases of one attempt on batches of one run.

    Raises UserError if it cannot write, or if a lease is a link or a folder.
    """

    def __init__(self, run: Run, attempt: str) -> None:
        self._folder = run.path / "leases"
        self._attempt = attempt
        self._alive = self._folder / f"{attempt}.alive"
        self._held: set[Path] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, daemon=True)

    def __enter__(self) -> Leases:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._alive.write_text(f"{platform.node()} {os.getpid()}")
        except OSError as error:
            raise cannot_write(self._alive, error) from error
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for file in (*self._held, self._alive):
            file.unlink(missing_ok=True)
        try:
            self._folder.rmdir()
        except OSError:
            return  # another attempt has leases there

    def claim(self, batch: Sequence[str]) -> bool:
        """Take the lease on a batch; False if another attempt holds it."""
        file = self._file(batch)
        if self._create(file):
            return True
        if self._is_held(file):
            return False
        _remove_expired(file)
        return self._create(file)

    def is_taken(self, batch: Sequence[str]) -> bool:
        """Whether another attempt holds the lease on a batch."""
        file = self._file(batch)
        return file not in self._held and self._is_held(file)

    def release(self, batch: Sequence[str]) -> None:
        """Give a lease back before the batch is made."""
        file = self._file(batch)
        self._held.discard(file)
        file.unlink(missing_ok=True)

    def _file(self, batch: Sequence[str]) -> Path:
        return self._folder / short_digest("\x1f".join(batch))

    def _create(self, file: Path) -> bool:
        try:
            with open(file, "x") as opened:
                self._held.add(file)  # from now on it is ours to remove
                opened.write(self._attempt)
        except FileExistsError:
            return False
        except OSError as error:
            raise cannot_write(file, error) from error
        return True

    def _is_held(self, file: Path) -> bool:
        try:
            owner = _text(file)
            # Without a name its owner has created it a moment ago.
            alive = self._folder / f"{safe_name(owner)}.alive" if owner else file
            host, _, pid = _text(alive).partition(" ") if owner else ("", "", "")
            age = self._now() - alive.stat().st_mtime
        except FileNotFoundError:
            return False
        return age < EXPIRY_S and not (host == platform.node() and is_gone(pid))

    def _now(self) -> float:
        """The time of the file system."""
        try:
            self._touch()
        except OSError as error:
            raise cannot_write(self._alive, error) from error
        return self._alive.stat().st_mtime

    def _touch(self) -> None:
        try:
            os.utime(self._alive)
        except FileNotFoundError:  # somebody has tidied up
            self._alive.write_text(f"{platform.node()} {os.getpid()}")

    def _keep_alive(self) -> None:
        while not self._ended.wait(_TOUCH_S):
            try:
                self._touch()
            except OSError:
                continue  # a full disk ends the run elsewhere, with its remedy


def are_abandoned(run: Run) -> bool:
    """Whether a run has a folder of leases and all attempts that wrote there have ended."""
    folder = run.path / "leases"
    return folder.is_dir() and all(map(_has_ended, folder.glob("*.alive")))


def _has_ended(alive: Path) -> bool:
    try:
        host, _, pid = _text(alive).partition(" ")
        return has_ended(host, pid, alive.stat().st_mtime)
    except (FileNotFoundError, DamagedFileError):
        return True


def _text(file: Path) -> str:
    return read_regular(file).decode(errors="replace")


def _remove_expired(file: Path) -> None:
    """Renaming lets only one of several processes take an expired lease away."""
    taken = file.with_name(f"{file.name}.{uuid.uuid4().hex[:8]}")
    try:
        file.rename(taken)
    except FileNotFoundError:
        return  # another process was faster
    taken.unlink()
