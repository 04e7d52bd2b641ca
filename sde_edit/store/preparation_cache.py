"""On-disk cache of the results of preparations, such as found masks and LoRAs.

    <cache>/<preparation>/<hash of the basis>/<key><suffix>

See `Preparation` for basis, key and suffix. A file with its final name is complete. The cache may
be deleted at any time; that only costs time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sde_edit.api.example import Example
from sde_edit.api.preparation import Preparation
from sde_edit.api.spec import RunSpec
from sde_edit.store.files import canonical, safe_name, short_digest, write_atomic

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
        files = [self.file(example) for example in examples]
        missing = [b for b, file in enumerate(files) if not file.exists()]
        if missing:
            contents = compute([examples[b] for b in missing])
            for b, content in zip(missing, contents, strict=True):
                write_atomic(files[b], content)
        read = self._preparation.read
        return [read(file.read_bytes(), e) for file, e in zip(files, examples, strict=True)]
