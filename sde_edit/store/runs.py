"""Runs on disk: content-addressed, append-only, resumable.

    <results>/runs/<task>__<sampler>__<model>__s050__<run_id>/
        spec.json             what was run; its hash is the run id
        outputs/<id>.png      a final name means a complete file
        masks/<id>.png        white where the image was edited, of tasks that find masks themselves
        rows/<attempt>.jsonl  one line per image: id, file, size, pixels (sha256), seconds, ...
        attempts/<attempt>.json  provenance (host, versions, device, ...) and how it ended
        metrics/<metric>@<version>-<hash>.json
        SEALED                n and digest; written last

An attempt owns its own files, so two processes at work on one run need no lock: an image made
twice is the same image.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sde_edit.api.spec import ComponentSpec, RunSpec
from sde_edit.store.files import canonical, safe_name, write_atomic

# An environment variable in which a launcher tells its worker where the worker's log is.
LOG_VARIABLE = "SDE_EDIT_LOG"


def run_id(spec: RunSpec) -> str:
    """First 12 hex digits of the SHA-256 of the canonical spec."""
    return hashlib.sha256(canonical(asdict(spec)).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class ImageRecord:
    """What is known of one finished image.

    pixels: SHA-256 of the uint8 RGB array, independent of how PNG compresses it.
    seconds: its share of the wall time of its batch. evaluations: rows of the network it cost.
    calls: of the network that its batch waited for, one after the other; 0 in rows of old. What
    runs share that are made together counts in equal parts. Of images made elsewhere all three are
    None, and device and dtype empty.
    """

    id: str
    file: str
    size: int
    pixels: str
    seconds: float | None
    evaluations: float | None
    device: str
    dtype: str
    calls: float | None = 0


@dataclass(frozen=True)
class Seal:
    """n images of `of` that the data set has; digest over (id, pixels) of all n."""

    n: int
    of: int
    digest: str


def batched(ids: Sequence[str], size: int) -> list[Sequence[str]]:
    """A run's ids in consecutive batches of at most `size`: as they are made, and as measured."""
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def rows_digest(rows: Iterable[ImageRecord]) -> str:
    """SHA-256 over the ids and pixels of images, whatever their order."""
    digest = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row.id):
        digest.update(f"{row.id}\x1f{row.pixels}\n".encode())
    return digest.hexdigest()


class Run:
    """One run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        return self.path.name.rsplit("__", 1)[1]

    @property
    def spec(self) -> RunSpec:
        raw = json.loads((self.path / "spec.json").read_text())
        groups = ("task", "sampler", "model", "data")
        fields: dict[str, Any] = {
            k: ComponentSpec(**v) if k in groups else v for k, v in raw.items()
        }
        return RunSpec(**fields)

    def rows(self) -> dict[str, ImageRecord]:
        """Finished images by id: those whose row is whole and whose file is there at its size.

        Of an image that was made twice, the later attempt counts.
        """
        return {row.id: row for row in self.iter_records() if self._complete(row)}

    def iter_records(self) -> Iterator[ImageRecord]:
        """Every row that was written, its file not looked at."""
        for file in sorted((self.path / "rows").glob("*.jsonl")):
            for line in file.read_text().splitlines():
                try:
                    yield ImageRecord(**json.loads(line))
                except json.JSONDecodeError:
                    continue  # the line that a kill cut short; its image is made again

    def _complete(self, row: ImageRecord) -> bool:
        try:
            return (self.path / "outputs" / row.file).stat().st_size == row.size
        except FileNotFoundError:
            return False

    def output(self, row: ImageRecord) -> Path:
        return self.path / "outputs" / row.file

    def mask_file(self, example_id: str) -> Path:
        return self.path / "masks" / f"{safe_name(example_id)}.png"

    @property
    def seal(self) -> Seal | None:
        file = self.path / "SEALED"
        return Seal(**json.loads(file.read_text())) if file.exists() else None

    def write_seal(self, ids: Sequence[str], of: int) -> Seal:
        """Seal the images `ids`. Raises RuntimeError if one of them is missing."""
        rows = self.rows()
        missing = [example_id for example_id in ids if example_id not in rows]
        if missing:
            raise RuntimeError(f"{self.path}: {len(missing)} images missing, first {missing[0]!r}")
        seal = Seal(len(ids), of, rows_digest(rows[example_id] for example_id in ids))
        write_atomic(self.path / "SEALED", (canonical(asdict(seal)) + "\n").encode())
        return seal

    def attempts(self) -> list[dict[str, Any]]:
        """What every process that worked on the run wrote of itself, oldest first."""
        return [json.loads(f.read_text()) for f in sorted((self.path / "attempts").glob("*.json"))]

    def row_file(self, attempt: str) -> Path:
        return self.path / "rows" / f"{attempt}.jsonl"

    # -- scores

    def score_file(self, metric: str, version: int, settings: Mapping[str, Any]) -> Path:
        """Where a metric's score belongs; the hash covers the settings and the sealed images."""
        seal = self.seal
        basis = canonical({"settings": dict(settings), "seal": asdict(seal) if seal else None})
        digest = hashlib.sha256(basis.encode()).hexdigest()[:8]
        return self.path / "metrics" / f"{metric}@{version}-{digest}.json"

    def scores(self) -> dict[str, dict[str, Any]]:
        """Metric name -> stored score, of those made of the images as sealed now."""
        seal = self.seal
        found = {}
        for file in sorted((self.path / "metrics").glob("*.json")):
            try:
                score = json.loads(file.read_text())
            except FileNotFoundError:
                continue  # superseded this moment by another process
            if seal and score["seal"] == seal.digest:
                found[str(score["metric"])] = score
        return found


class RunStore:
    """All runs under <results>/runs."""

    def __init__(self, results: Path) -> None:
        self.root = results / "runs"

    def open(self, spec: RunSpec) -> Run:
        """The run of a spec, made if it is new."""
        parts = (spec.task.name, spec.sampler.name, spec.model.name, f"s{spec.steps:03d}")
        run = Run(self.root / "__".join([*map(safe_name, parts), run_id(spec)]))
        file = run.path / "spec.json"
        if not file.exists():
            write_atomic(file, (json.dumps(asdict(spec), indent=2) + "\n").encode())
        return run

    def find(self, spec: RunSpec) -> Run | None:
        """The run of a spec if it exists; writes nothing."""
        found = sorted(self.root.glob(f"*__{run_id(spec)}/spec.json"))
        return Run(found[0].parent) if found else None

    def runs(self) -> list[Run]:
        """Every run, by name."""
        return [Run(file.parent) for file in sorted(self.root.glob("*/spec.json"))]
