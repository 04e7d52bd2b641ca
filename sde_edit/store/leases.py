"""Leases on work, so that two processes do not do the same work twice.

    <folder>/<work>           the name of the owner that does the work
    <folder>/<owner>.alive    "<host> <pid>"; touched for as long as the owner lives

The folder is `leases` in a run, where the work is a batch of images, or in a folder of cached
preparations, where it is one result. A lease holds while its owner is alive: until it ends, until
its process is gone from this machine, or until its file has not been touched for `EXPIRY_S`. Ages
are differences of two times of the file system, so that the clocks of the machines need not agree.
A lease only saves work: should two processes hold one, both make the same files.
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

LEASES = "leases"  # the name of such a folder
# Network file systems may show a time that is a minute old.
EXPIRY_S = 150.0
_TOUCH_S = 15.0


class Leases:
    """The leases of one owner in one folder.

    owner: a name that nobody else uses, such as an attempt's.
    Raises UserError if it cannot write, or if the folder is a link, or a lease a link or a folder.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        self._folder, self._owner = folder, owner
        self._alive = folder / f"{owner}.alive"
        self._held: set[Path] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, daemon=True)

    def __enter__(self) -> Leases:
        if self._folder.is_symlink():
            raise DamagedFileError(f"{self._folder}: is a link, not a folder. Remove it")
        try:
            self._begin()
        except OSError as error:
            raise cannot_write(self._alive, error) from error
        self._thread.start()
        return self

    def _begin(self) -> None:
        """Make the folder and the owner's file; another owner that ends may remove the folder."""
        while True:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._write_alive()
            except (FileExistsError, FileNotFoundError):
                if self._folder.exists() and not self._folder.is_dir():
                    raise
            else:
                return

    def _write_alive(self) -> None:
        self._alive.write_text(f"{platform.node()} {os.getpid()}")

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for file in (*self._held, self._alive):
            file.unlink(missing_ok=True)
        try:
            self._folder.rmdir()
        except OSError:
            return  # another owner has leases there

    def claim(self, work: Sequence[str]) -> bool:
        """Take the lease on some work; False if somebody holds it."""
        file = self._file(work)
        if self._create(file):
            return True
        if self._is_held(file):
            return False
        _remove_expired(file)
        return self._create(file)

    def is_taken(self, work: Sequence[str]) -> bool:
        """Whether another owner holds the lease on some work."""
        file = self._file(work)
        return file not in self._held and self._is_held(file)

    def release(self, work: Sequence[str]) -> None:
        """Give a lease back."""
        file = self._file(work)
        self._held.discard(file)
        file.unlink(missing_ok=True)

    def _file(self, work: Sequence[str]) -> Path:
        return self._folder / short_digest("\x1f".join(work))

    def _create(self, file: Path) -> bool:
        try:
            with open(file, "x") as opened:
                self._held.add(file)  # from now on it is ours to remove
                opened.write(self._owner)
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
            self._write_alive()

    def _keep_alive(self) -> None:
        while not self._ended.wait(_TOUCH_S):
            try:
                self._touch()
            except OSError:
                continue  # a full disk ends the run elsewhere, with its remedy


def are_abandoned(folder: Path) -> bool:
    """Whether a folder of leases is there and all owners that wrote there have ended."""
    return folder.is_dir() and all(map(_has_ended, folder.glob("*.alive")))


def are_held(folder: Path) -> bool:
    """Whether a folder of leases is there and an owner is still at work."""
    return folder.is_dir() and not are_abandoned(folder)


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
