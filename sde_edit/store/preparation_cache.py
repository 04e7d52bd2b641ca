"""On-disk cache of the results of preparations, such as found masks and LoRAs.

    <cache>/<preparation>/<hash of the basis>/<key><suffix>

See `Preparation` for basis, key and suffix. A file with its final name is complete. `<name>.sha256`
beside a file is its checksum; a damaged file is computed again. The cache may be deleted at any
time; that only costs time.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from sde_edit.api.example import Example
from sde_edit.api.preparation import Preparation
from sde_edit.api.spec import RunSpec
from sde_edit.errors import UserError
from sde_edit.store.files import (
    DamagedFileError,
    canonical,
    read_regular,
    safe_name,
    short_digest,
    write_together,
)

log = logging.getLogger("sde_edit")
_UNREADABLE = (OSError, SafetensorError, LookupError, RuntimeError, TypeError, ValueError)

Compute = Callable[[Sequence[Example]], Sequence[bytes]]  # the content of each example's file


class PreparationCache:
    """The results of a preparation, one file per example; runs that agree in its basis share it."""

    def __init__(self, cache: Path, spec: RunSpec, preparation: Preparation) -> None:
        basis = canonical(preparation.basis(spec))
        self.folder = cache / preparation.name / short_digest(basis)
        self._preparation = preparation

    def file(self, example: Example) -> Path:
        """The file of an example's result; it may not exist."""
        key = self._preparation.key(example)
        return self.folder / f"{safe_name(key)}{self._preparation.suffix}"

    def fill(self, examples: Sequence[Example], compute: Compute) -> list[Any]:
        """The result of each example; those that are missing are computed first."""
        contents = [self._stored(example) for example in examples]
        if missing := [b for b, content in enumerate(contents) if content is None]:
            made = compute([examples[b] for b in missing])
            for b, content in zip(missing, made, strict=True):
                _store(self.file(examples[b]), content)
                contents[b] = content
        read = self._preparation.read
        return [read(c, e) for c, e in zip(contents, examples, strict=True) if c is not None]

    def _stored(self, example: Example) -> bytes | None:
        """The stored content; None if it is missing or not what was written, which is logged."""
        file = self.file(example)
        try:
            content = read_regular(file)
            whole = _has_checksum(file, content) or self._adopts(content, example)
        except FileNotFoundError:
            return None
        except DamagedFileError as error:
            log.warning("%s: it is computed again", error)
            return None
        if not whole:
            log.warning("%s is damaged: it is computed again", file)
        return content if whole else None

    def _adopts(self, content: bytes, example: Example) -> bool:
        """Whether a file of an older version, which wrote no checksums, can be read."""
        file = self.file(example)
        if _checksum_file(file).exists():
            return False
        try:
            self._preparation.read(content, example)
        except (UserError, *_UNREADABLE):
            return False
        _store(file, content)
        return True


def _checksum_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def _checksum(file: Path, content: bytes) -> str:
    """Covers the name too, so that exchanged files are noticed."""
    return hashlib.sha256(file.name.encode() + b"\x1f" + content).hexdigest()


def _store(file: Path, content: bytes) -> None:
    checksum = _checksum(file, content).encode()
    write_together({file: content, _checksum_file(file): checksum})


def _has_checksum(file: Path, content: bytes) -> bool:
    try:
        return read_regular(_checksum_file(file)) == _checksum(file, content).encode()
    except FileNotFoundError:
        return False
