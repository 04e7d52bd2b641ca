"""Atomic writes, checked reads, safe file names, canonical JSON and digests of text."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import time
import uuid
from collections.abc import Iterable, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from sde_edit.errors import UserError, first_problem, shown

T = TypeVar("T")
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")
# A temporary file that is older than this has no writer any more.
_ABANDONED_S = 3600


class DamagedFileError(UserError):
    """A stored file holds something else than what was written there; the message names it."""


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def short_digest(text: str, length: int = 12) -> str:
    """The first hex digits of the SHA-256 of a text, for names of files and folders."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def digest_of_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """SHA-256, in hex, over names and the digests of what they name, in the given order."""
    total = hashlib.sha256()
    for name, digest in pairs:
        total.update(f"{name}\x1f{digest}\n".encode())
    return total.hexdigest()


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file as a whole: a reader sees the old or the new content. Creates parent folders.

    Raises UserError if the disk is full or the folder cannot be written.
    """
    write_together({path: data})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Replace several files, or none of them: all are written before the first is renamed.

    Creates parent folders. Raises UserError if the disk is full, a folder cannot be written, or
    something else than a file is there, which a rename would take away: /dev/null, for instance.
    """
    temporary: dict[Path, Path] = {}
    path = next(iter(contents), Path())
    try:
        for path, data in contents.items():
            if not path.name or (path.exists() and not path.is_file()):
                raise OSError(errno.EINVAL, "it is a folder, pipe or device, not a file")
            temporary[path] = path.with_name(f".{path.name[:80]}.{uuid.uuid4().hex[:12]}.tmp")
            _write_synced(temporary[path], data)
        for path, written in temporary.items():
            os.replace(written, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        for written in temporary.values():
            if written.is_file():
                written.unlink()


def cannot_write(path: Path, error: OSError) -> UserError:
    """The error, with its remedy, for a file that the disk or the folder does not take."""
    return UserError(
        f"cannot write {path}: {error.strerror}. Free space or choose a folder that you can write, "
        "by paths.results=DIR or paths.cache=DIR; nothing finished is lost, the same command "
        "resumes"
    )


def reason(error: UserError) -> str:
    """Why a file could not be written, without the remedy of a results folder."""
    cause = error.__cause__
    return (cause.strerror if isinstance(cause, OSError) else None) or str(error)


def _write_synced(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def leftovers(folder: Path) -> list[Path]:
    """The temporary files below a folder whose writers were killed."""
    now = time.time()
    found = [
        Path(parent, name)
        for parent, _, names in os.walk(folder)  # which forgives a folder that goes meanwhile
        for name in names
        if _TEMPORARY.fullmatch(name)
    ]
    return sorted(path for path in found if now - _modified(path, now) > _ABANDONED_S)


def _modified(path: Path, now: float) -> float:
    """When a file was written; now if it has gone meanwhile."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return now


# ------------------------------------------------------------------ checked reads
def open_regular(path: Path) -> BufferedReader:
    """Open a regular file, or the one that a link leads to, for reading; a pipe would wait forever.

    Raises UserError naming the file.
    """
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise UserError(f"{shown(str(path))}: is a pipe, socket or device. Take it out")
        return path.open("rb")
    except FileNotFoundError as error:
        missing = "links to a file that is not there" if path.is_symlink() else "no such file"
        raise UserError(f"{shown(str(path))}: {missing}") from error
    except OSError as error:
        raise UserError(f"{shown(str(path))}: cannot be read ({error.strerror})") from error


def read_given(path: Path) -> bytes:
    """The content of a file of the user's. Raises UserError like `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def read_regular(path: Path) -> bytes:
    """The content of a regular file of the store.

    Raises FileNotFoundError, and DamagedFileError for a link, folder, device or unreadable file.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise DamagedFileError(f"{path}: is a link, folder or device instead of a file")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedFileError(f"{path}: cannot be read ({error.strerror})") from error


def read_record(path: Path, adapter: TypeAdapter[T], remedy: str) -> T:
    """The record in a JSON file; keys that a newer version adds are ignored.

    remedy: the end of the message. Raises FileNotFoundError, and DamagedFileError naming the file.
    """
    try:
        return adapter.validate_json(read_regular(path), strict=True)
    except ValidationError as error:
        raise DamagedFileError(f"{path}: {first_problem(error)}. {remedy}") from error


def write_checked(path: Path, value: Mapping[str, Any]) -> None:
    """Write a cache as JSON with a checksum. Raises UserError like `write_atomic`."""
    text = json.dumps({"sha256": _checksum(value), **value}, indent=0)
    write_atomic(path, (text + "\n").encode())


def read_checked(path: Path) -> dict[str, Any]:
    """What `write_checked` wrote; empty if the file is missing or its content has changed."""
    try:
        value = json.loads(read_regular(path))
        checksum = value.pop("sha256", "") if isinstance(value, dict) else ""
        return value if checksum == _checksum(value) else {}
    except (FileNotFoundError, DamagedFileError, ValueError, RecursionError):
        return {}


def _checksum(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def child(folder: Path, name: str) -> Path:
    """The path of a file in a folder. Raises UserError for a name that leads elsewhere."""
    if Path(name).name != name or name.startswith("."):
        raise UserError(f"{name!r} cannot name a file in {folder}: use a name without folders")
    return folder / name


def safe_name(example_id: str) -> str:
    """A file name that stays inside its folder; different ids get different names."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", example_id).lstrip(".") or "_"
    if plain == example_id and len(plain) < 100:
        return plain
    return f"{plain[:80]}-{short_digest(example_id, 10)}"
