"""Atomic writes, safe file names, canonical JSON and digests of text."""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from sde_edit.errors import UserError

T = TypeVar("T")


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def known_fields(record: type[T], stored: Mapping[str, Any]) -> T:
    """A dataclass from stored JSON; fields that a newer version has added are ignored."""
    names = [field.name for field in fields(record)]  # type: ignore[arg-type]
    return record(**{name: stored[name] for name in names if name in stored})


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
    temporary = path.with_name(f".{path.name[:80]}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary.is_file():
            temporary.unlink()
        raise UserError(
            f"cannot write {path}: {error.strerror}. Free space or set paths.results=DIR to a "
            "folder you can write; nothing finished is lost, the same command resumes"
        ) from error


def safe_name(example_id: str) -> str:
    """A file name that stays inside its folder; different ids get different names."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", example_id).lstrip(".") or "_"
    if plain == example_id and len(plain) < 100:
        return plain
    return f"{plain[:80]}-{short_digest(example_id, 10)}"
