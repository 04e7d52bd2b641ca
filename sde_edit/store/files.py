"""Files written whole or not at all, names that stay in their folder, canonical JSON."""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from pathlib import Path
from typing import Any

from sde_edit.errors import UserError


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_atomic(path: Path, data: bytes) -> None:
    """A reader sees the old file or the new one, never a part. Parents are made.

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
    """A file name for an id that stays inside its folder and never collides with another id's."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", example_id).lstrip(".") or "_"
    if plain == example_id and len(plain) < 100:
        return plain
    return f"{plain[:80]}-{hashlib.sha256(example_id.encode()).hexdigest()[:10]}"
