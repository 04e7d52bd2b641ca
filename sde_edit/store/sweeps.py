"""Records of launched sweeps: <results>/sweeps/<name>/sweep.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sde_edit.store.files import known_fields, write_atomic


@dataclass(frozen=True)
class SweepRecord:
    """A sweep that was launched. handle: the launcher's id of submitted jobs; "" for local ones.

    started: Unix time in seconds. jobs: for each job its run ids, overrides and number of images.
    """

    overrides: Sequence[str]
    host: str = ""
    pid: int = 0
    started: float = 0.0
    handle: str = ""
    jobs: Sequence[Mapping[str, Any]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write `sweep.json` into the folder of the sweep. Raises UserError if the disk is full."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        write_atomic(folder / "sweep.json", text.encode())


def read_sweeps(results: Path) -> dict[str, SweepRecord]:
    """Name -> record of every sweep, oldest first."""
    files = sorted((results / "sweeps").glob("*/sweep.json"))
    return {f.parent.name: known_fields(SweepRecord, json.loads(f.read_text())) for f in files}
