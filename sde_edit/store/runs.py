"""Runs on disk: content-addressed, append-only, resumable.

    <results>/runs/<task>__<sampler>__<model>__s050__<run_id>/
        spec.json             what was run; its hash is the run id
        outputs/<id>.png      a file with its final name is complete
        masks/<id>.png        white where the image was edited, for tasks that find their masks
        rows/<attempt>.jsonl  an ImageRecord per line
        attempts/<attempt>.json  an AttemptRecord
        metrics/<metric>@<version>-<hash>.json
        SEALED                a Seal; written last

Each attempt writes only its own files, so processes that work on the same run need no lock: an
image made twice is the same image.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from sde_edit.api.metric import Score
from sde_edit.api.spec import ComponentSpec, RunSpec
from sde_edit.errors import UserError, first_problem
from sde_edit.store.files import (
    canonical,
    digest_of_pairs,
    known_fields,
    safe_name,
    short_digest,
    write_atomic,
)

if TYPE_CHECKING:
    from sde_edit.api.example import Pixels

# The environment variable in which a launcher tells its worker the path of the worker's log.
LOG_VARIABLE = "SDE_EDIT_LOG"


def run_id(spec: RunSpec) -> str:
    """First 12 hex digits of the SHA-256 of the canonical spec."""
    return short_digest(canonical(asdict(spec)))


@dataclass(frozen=True)
class ImageRecord:
    """A finished image.

    file, size: the name of its PNG file, and the number of its bytes.
    pixels: SHA-256 of the uint8 RGB array, which does not depend on PNG compression.
    seconds: the image's share of its batch's wall time. evaluations: rows of the network it cost.
    calls: sequential network calls of its batch; 0 in old records. Costs that several runs share
    are split equally. All three costs are None for external outputs, whose device and dtype are "".
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
class AttemptRecord:
    """One process that worked on one shard of a run. Provenance, not part of the run's identity.

    images: the number of images that were missing when it started. started, ended: Unix time in
    seconds; without an end, the process was killed or is still at work. error: why it ended early;
    "interrupted" for a signal. log: path of the worker's log. slurm_job: `<job>_<task>`.
    Records of older versions may lack fields.
    """

    attempt: str = ""
    overrides: Sequence[str] = ()
    host: str = ""
    pid: int = 0
    slurm_job: str | None = None
    log: str | None = None
    device: str = ""
    device_name: str = ""
    batch_size: int = 0
    threads: int = 0
    compile: bool = False
    shard: int = 0
    shards: int = 1
    images: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    started: float = 0.0
    ended: float | None = None
    error: str | None = None

    def to_json(self) -> str:
        """As stored; `ended` and `error` are left out while they are unknown."""
        fields = asdict(self)
        known = {
            key: value for key, value in fields.items() if key not in _LATER or value is not None
        }
        return json.dumps(known, indent=2) + "\n"


_LATER = ("ended", "error")


@dataclass(frozen=True)
class Seal:
    """States that n of the data set's `of` examples are complete.

    digest: SHA-256 over the ids and pixels of the n images.
    """

    n: int
    of: int
    digest: str


def batched(ids: Sequence[str], size: int) -> list[Sequence[str]]:
    """Consecutive batches of at most `size` ids, in which images are made and measured."""
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def pixels_digest(pixels: Pixels) -> str:
    """SHA-256 of a uint8 RGB array."""
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def rows_digest(rows: Iterable[ImageRecord]) -> str:
    """SHA-256 over the ids and pixels of images, in any order."""
    return digest_of_pairs((row.id, row.pixels) for row in sorted(rows, key=lambda row: row.id))


class Run:
    """One run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        """The run id: 12 hex digits, the end of the folder's name."""
        return self.path.name.rsplit("__", 1)[1]

    @property
    def spec(self) -> RunSpec:
        """The spec that was stored when the run was opened."""
        raw = json.loads((self.path / "spec.json").read_text())
        groups = ("task", "sampler", "model", "data")
        fields: dict[str, Any] = {
            k: ComponentSpec(**v) if k in groups else v for k, v in raw.items()
        }
        return RunSpec(**fields)

    def rows(self) -> dict[str, ImageRecord]:
        """Finished images by id: those with a complete record and a file of the recorded size.

        If an image was made twice, the later attempt counts.
        """
        return {row.id: row for row in self.iter_records() if self._complete(row)}

    def iter_records(self) -> Iterator[ImageRecord]:
        """Every record that was written, whether or not its file exists."""
        for file in sorted((self.path / "rows").glob("*.jsonl")):
            for line in file.read_text().splitlines():
                try:
                    yield known_fields(ImageRecord, json.loads(line))
                except json.JSONDecodeError:
                    continue  # cut short by a kill; the image is made again

    def _complete(self, row: ImageRecord) -> bool:
        try:
            return (self.path / "outputs" / row.file).stat().st_size == row.size
        except FileNotFoundError:
            return False

    def output(self, row: ImageRecord) -> Path:
        """The PNG file of an image."""
        return self.path / "outputs" / row.file

    def mask_file(self, example_id: str) -> Path:
        """The file of a mask that the task found; it may not exist."""
        return self.path / "masks" / f"{safe_name(example_id)}.png"

    @property
    def seal(self) -> Seal | None:
        """The seal, or None if the run is not sealed."""
        file = self.path / "SEALED"
        return known_fields(Seal, json.loads(file.read_text())) if file.exists() else None

    def write_seal(self, ids: Sequence[str], of: int) -> Seal:
        """Seal the images `ids`. Raises RuntimeError if one of them is missing."""
        rows = self.rows()
        missing = [example_id for example_id in ids if example_id not in rows]
        if missing:
            raise RuntimeError(f"{self.path}: {len(missing)} images missing, first {missing[0]!r}")
        seal = Seal(len(ids), of, rows_digest(rows[example_id] for example_id in ids))
        write_atomic(self.path / "SEALED", (canonical(asdict(seal)) + "\n").encode())
        return seal

    def attempts(self) -> list[AttemptRecord]:
        """Every process that worked on the run, oldest first."""
        files = sorted((self.path / "attempts").glob("*.json"))
        return [known_fields(AttemptRecord, json.loads(file.read_text())) for file in files]

    def attempt_file(self, attempt: str) -> Path:
        """The file of an AttemptRecord; it may not exist."""
        return self.path / "attempts" / f"{attempt}.json"

    def row_file(self, attempt: str) -> Path:
        """The file of an attempt's ImageRecords; it may not exist."""
        return self.path / "rows" / f"{attempt}.jsonl"

    # -- scores

    def score_file(self, metric: str, version: int, settings: Mapping[str, Any]) -> Path:
        """The file of a metric's score; its hash covers the settings and the sealed images."""
        seal = self.seal
        basis = canonical({"settings": dict(settings), "seal": asdict(seal) if seal else None})
        return self.path / "metrics" / f"{metric}@{version}-{short_digest(basis, 8)}.json"

    def scores(self) -> dict[str, Score]:
        """Metric name -> stored score, for the scores of the images that are sealed now."""
        seal = self.seal
        found = {}
        for file in sorted((self.path / "metrics").glob("*.json")):
            try:
                score = read_score(file)
            except FileNotFoundError:
                continue  # superseded this moment by another process
            if seal and score.seal == seal.digest:
                found[score.metric] = score
        return found


_SCORE = TypeAdapter(Score)


def read_score(file: Path) -> Score:
    """A stored score; keys that a newer version adds are ignored.

    Raises FileNotFoundError, and UserError for a file that holds no score.
    """
    try:
        return _SCORE.validate_json(file.read_bytes())
    except ValidationError as error:
        raise UserError(
            f"{file}: {first_problem(error)}. Remove the file and evaluate the run again"
        ) from error


def write_score(file: Path, score: Score) -> None:
    """Store a score atomically. Raises ValueError for a number that is not finite."""
    text = json.dumps(asdict(score), allow_nan=False)
    write_atomic(file, (text + "\n").encode())


class RunStore:
    """All runs under <results>/runs."""

    def __init__(self, results: Path) -> None:
        self.root = results / "runs"

    def open(self, spec: RunSpec) -> Run:
        """The run of a spec; creates its folder if it is new."""
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
