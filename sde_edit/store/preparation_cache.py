"""On-disk cache of the results of preparations, such as found masks and LoRAs.

    <cache>/<preparation>/<hash of the basis>/<key><suffix>

See `Preparation` for basis, key and suffix. A file with its final name is complete. `<name>.sha256`
beside a file is its checksum; a damaged file is computed again. While files are computed, the
folder `leases` beside them says by whom. The cache may be deleted at any time; that only costs
time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
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
from sde_edit.store.leases import LEASES, Leases

log = logging.getLogger("sde_edit")
_POLL_S = 5.0  # at most so long until a result of another process is noticed
_UNREADABLE = (OSError, SafetensorError, LookupError, RuntimeError, TypeError, ValueError)

Compute = Callable[[Sequence[Example]], Sequence[bytes]]  # the content of each example's file
_Wanted = Mapping[Path, Example]  # by the file of its result


class PreparationCache:
    """The results of a preparation, one file per example; runs that agree in its basis share it.

    Each result is computed by one process at a time, and the others wait for it.
    """

    def __init__(self, cache: Path, spec: RunSpec, preparation: Preparation) -> None:
        basis = canonical(preparation.basis(spec))
        self.folder = cache / preparation.name / short_digest(basis)
        self.leases = self.folder / LEASES
        self._preparation = preparation

    def file(self, example: Example) -> Path:
        """The file of an example's result; it may not exist."""
        key = self._preparation.key(example)
        return self.folder / f"{safe_name(key)}{self._preparation.suffix}"

    def fill(self, examples: Sequence[Example], compute: Compute) -> list[Any]:
        """The result of each example; those that are missing are computed first.

        Raises UserError if the folder cannot be written, and what `compute` raises.
        """
        files = [self.file(example) for example in examples]
        wanted = dict(zip(files, examples, strict=True))
        contents = self._stored(wanted)
        if missing := _without(wanted, contents):
            with Leases(self.leases, uuid.uuid4().hex) as leases:
                contents |= self._share(missing, compute, leases)
        read = self._preparation.read
        return [read(contents[file], e) for file, e in zip(files, examples, strict=True)]

    def _share(self, missing: _Wanted, compute: Compute, leases: Leases) -> dict[Path, bytes]:
        """Compute what no other process is computing, wait for the rest, and so on.

        A process that waits holds no lease, so two processes never wait for each other.
        """
        contents: dict[Path, bytes] = {}
        while missing:
            claimed = {file: e for file, e in missing.items() if leases.claim((file.name,))}
            contents |= self._computed(claimed, compute)
            for file in claimed:
                leases.release((file.name,))
            contents |= self._awaited(_without(missing, claimed), leases)
            missing = _without(missing, contents)
        return contents

    def _computed(self, claimed: _Wanted, compute: Compute) -> dict[Path, bytes]:
        """Compute and store what is still missing now that it is leased."""
        if not claimed:
            return {}
        with suppress(OSError):
            os.utime(self.folder)  # else NFS may say for a minute that a new file is not there
        contents = self._stored(claimed, warns=True)
        if missing := _without(claimed, contents):
            made = compute(list(missing.values()))
            for file, content in zip(missing, made, strict=True):
                _store(file, content)
                contents[file] = content
        return contents

    def _awaited(self, missing: _Wanted, leases: Leases) -> dict[Path, bytes]:
        """Wait while other processes compute all that is missing; return what they have stored."""
        contents: dict[Path, bytes] = {}
        pause = 0.1
        if missing:
            text = "%s: waiting for %d that another process is computing"
            log.info(text, self._preparation.label, len(missing))
        while missing and all(leases.is_taken((file.name,)) for file in missing):
            time.sleep(pause)
            pause = min(2 * pause, _POLL_S)
            contents |= self._stored(missing)
            missing = _without(missing, contents)
        return contents

    def _stored(self, wanted: _Wanted, *, warns: bool = False) -> dict[Path, bytes]:
        """The contents that are there as they were written. warns: of the damaged ones."""
        found = {}
        for file, example in wanted.items():
            try:
                found[file] = self._read(file, example)
            except FileNotFoundError:
                continue
            except DamagedFileError as error:
                if warns:
                    log.warning("%s: it is computed again", error)
        return found

    def _read(self, file: Path, example: Example) -> bytes:
        """Raises FileNotFoundError, and DamagedFileError if it is not what was written."""
        content = read_regular(file)
        if not (_has_checksum(file, content) or self._adopts(content, example)):
            raise DamagedFileError(f"{file} is damaged")
        return content

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


def _without(wanted: _Wanted, found: Collection[Path]) -> dict[Path, Example]:
    """Those of the wanted whose files are not among the found."""
    return {file: example for file, example in wanted.items() if file not in found}


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
