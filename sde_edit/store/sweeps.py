"""Records of launched sweeps: <results>/sweeps/<name>/sweep.json."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from sde_edit.store.files import DamagedFileError, read_record, write_atomic

log = logging.getLogger("sde_edit")


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


_RECORD = TypeAdapter(SweepRecord)


def read_sweeps(results: Path) -> dict[str, SweepRecord]:
    """Name -> record of every sweep, oldest first. Logs a warning for a damaged record."""
    found = {}
    for file in sorted((results / "sweeps").glob("*/sweep.json")):
        try:
            found[file.parent.name] = read_record(file, _RECORD, "Remove it; no run needs it")
        except FileNotFoundError:
            continue  # deleted while they were listed
        except DamagedFileError as error:
            log.warning("left out: %s", error)
    return found
