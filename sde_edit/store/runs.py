"""Runs on disk: content-addressed, append-only, resumable.

    <results>/runs/<task>__<sampler>__<model>__s050__<run_id>/
        spec.json             what was run; its hash is the run id
        outputs/<id>.png      a file with its final name is complete; its record is written later
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
import logging
import math
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter

from sde_edit.api.metric import Score
from sde_edit.api.spec import RunSpec
from sde_edit.errors import UserError
from sde_edit.store.files import (
    DamagedFileError,
    canonical,
    digest_of_pairs,
    leftovers,
    read_record,
    read_regular,
    safe_name,
    short_digest,
    write_atomic,
)
from sde_edit.store.leases import LEASES

if TYPE_CHECKING:
    from sde_edit.api.example import Pixels

log = logging.getLogger("sde_edit")
T = TypeVar("T")
_FOLDERS = ("outputs", "masks", "rows", "attempts", "metrics", LEASES)
_RUN_AGAIN = "The same `sde-edit run` command writes it again"
_SCORE_AGAIN = "Remove the file and evaluate the run again"
# Such overrides read the environment or other folders of configs when they are composed.
_UNSAFE_OVERRIDE = re.compile(r"\$\{.*:|^[+~]*hydra\b", re.DOTALL)

# The environment variable in which a launcher tells its worker the path of the worker's log.
LOG_VARIABLE = "SDE_EDIT_LOG"


def run_id(spec: RunSpec) -> str:
    """First 12 hex digits of the SHA-256 of the canonical spec."""
    return short_digest(canonical(spec.identity()))


@dataclass(frozen=True)
class ImageRecord:
    """A finished image.

    file, size: the name of its PNG file, and the number of its bytes.
    pixels: SHA-256 of the uint8 RGB array, which does not depend on PNG compression.
    seconds: the image's share of its batch's wall time. evaluations: rows of the network it cost.
    calls: sequential network calls of its batch; 0 in old records. Costs that several runs share
    are split equally. All three costs are None for external outputs, whose device and dtype are "".
    cut: whether the text encoder read only the beginning of a prompt; false in old records.
    evaluations_alone, calls_alone: what they would be, had the run shared nothing; None in old
    records and for external outputs.
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
    cut: bool = False
    evaluations_alone: float | None = None
    calls_alone: float | None = None

    @property
    def cost_alone(self) -> tuple[float | None, float | None]:
        """(evaluations, calls) of an image made alone; of an old record, its share of both."""
        if self.evaluations_alone is None:
            return self.evaluations, self.calls
        return self.evaluations_alone, self.calls_alone


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


@dataclass(frozen=True)
class Headline:
    """What a list of runs shows of a Score; the fields are some of its own."""

    metric: str
    convention: str
    higher_is_better: bool
    seal: str
    value: float
    low: float
    high: float
    n: int


def batched(ids: Sequence[str], size: int) -> list[Sequence[str]]:
    """Consecutive batches of at most `size` ids, in which images are made and measured."""
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def output_name(example_id: str) -> str:
    """The name of the file of an image."""
    return f"{safe_name(example_id)}.png"


def pixels_digest(pixels: Pixels) -> str:
    """SHA-256 of a uint8 RGB array."""
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def rows_digest(rows: Iterable[ImageRecord]) -> str:
    """SHA-256 over the ids and pixels of images, in any order."""
    return digest_of_pairs((row.id, row.pixels) for row in sorted(rows, key=lambda row: row.id))


_SPEC, _ROW, _ATTEMPT = TypeAdapter(RunSpec), TypeAdapter(ImageRecord), TypeAdapter(AttemptRecord)
_SEAL, _SCORE, _HEADLINE = TypeAdapter(Seal), TypeAdapter(Score), TypeAdapter(Headline)


def as_stored(spec: RunSpec) -> RunSpec:
    """A composed spec as it is read back from spec.json: plain values in place of components."""
    return _SPEC.validate_json(canonical(asdict(spec)), strict=True)


class Run:
    """One run directory.

    A damaged file, such as one that a full disk left empty, is passed over as if it were missing,
    except for spec.json; `damage` names such files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        """The run id: 12 hex digits, the end of the folder's name."""
        return self.path.name.rpartition("__")[2]

    @property
    def spec(self) -> RunSpec:
        """The spec that was stored when the run was opened.

        Raises DamagedFileError unless spec.json holds the spec with this run's id.
        """
        file = self.path / "spec.json"
        try:
            spec = read_record(file, _SPEC, _RUN_AGAIN)
            stored = json.loads(read_regular(file))
        except FileNotFoundError as error:
            raise DamagedFileError(f"{file}: is missing. {_RUN_AGAIN}") from error
        except ValueError as error:
            raise DamagedFileError(f"{file}: {error}. {_RUN_AGAIN}") from error
        own = short_digest(canonical({k: v for k, v in stored.items() if k != "defaults"}))
        if own != self.id:
            raise DamagedFileError(f"{file}: is the spec of run {own}. {_RUN_AGAIN}")
        return spec

    def check(self) -> None:
        """Raises DamagedFileError if spec.json is damaged or a subfolder is a link or a file."""
        for folder in (self.path / name for name in _FOLDERS):
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                raise DamagedFileError(f"{folder}: is a link or a file, not a folder. Remove it")
        _ = self.spec

    @property
    def has_spec(self) -> bool:
        """Whether its spec is there and undamaged."""
        try:
            _ = self.spec
        except DamagedFileError:
            return False
        return True

    def damage(self) -> list[str]:
        """A message for each damaged file that is passed over, with the remedy."""
        found = [_problem(self.path / "SEALED", _SEAL, _RUN_AGAIN)]
        for file in self._files("attempts", "json"):
            found.append(_problem(file, _ATTEMPT, "It is passed over; remove it"))
        for file in self._files("metrics", "json"):
            found.append(_problem(file, _SCORE, _SCORE_AGAIN))
        found += [_rows_problem(file) for file in self._files("rows", "jsonl")]
        return [problem for problem in found if problem]

    def _files(self, folder: str, suffix: str) -> list[Path]:
        return sorted((self.path / folder).glob(f"*.{suffix}"))

    def rows(self) -> dict[str, ImageRecord]:
        """Finished images by id: those with a complete record and a file of the recorded size.

        If an image was made twice, the later attempt counts.
        """
        return {row.id: row for row in self.iter_records() if self._complete(row)}

    def finished(self, ids: Collection[str]) -> frozenset[str]:
        """Those of the ids whose images are finished. Reads records only if a file is there."""
        there = [i for i in ids if (self.path / "outputs" / output_name(i)).exists()]
        return frozenset(self.rows().keys() & there) if there else frozenset()

    def rewritten(self) -> list[ImageRecord]:
        """Finished images whose files were written later than the file of their records.

        A record follows its image, so something else wrote these: a copy of the folder, or damage.
        """
        found: dict[str, tuple[ImageRecord, int]] = {}
        for file in self._files("rows", "jsonl"):
            recorded = _modified(file)
            found |= {row.id: (row, recorded) for row in _records(file) if self._complete(row)}
        return [row for row, recorded in found.values() if self.modified(row) > recorded]

    def modified(self, row: ImageRecord) -> int:
        """When the file of an image was written, in nanoseconds; 0 if it is not there."""
        return _modified(self.output(row))

    def trust(self, until: int) -> None:
        """Let the images that were written until then, in nanoseconds, be no longer `rewritten`."""
        for file in self._files("rows", "jsonl"):
            if _modified(file) < until:
                os.utime(file, ns=(until, until))

    def iter_records(self) -> Iterator[ImageRecord]:
        """Every record that was written, whether or not its file exists."""
        for file in self._files("rows", "jsonl"):
            yield from _records(file)

    def records_of(self, attempt: str) -> Iterator[ImageRecord]:
        """The records that one attempt wrote, in order."""
        return _records(self.row_file(attempt))

    def _complete(self, row: ImageRecord) -> bool:
        try:
            found = self.output(row).lstat()
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == row.size

    def output(self, row: ImageRecord) -> Path:
        """The PNG file of an image."""
        return self.path / "outputs" / row.file

    @property
    def leases(self) -> Path:
        """The folder of leases on batches, see `Leases`; it is there while images are made."""
        return self.path / LEASES

    def mask_file(self, example_id: str) -> Path:
        """The file of a mask that the task found; it may not exist."""
        return self.path / "masks" / f"{safe_name(example_id)}.png"

    @property
    def seal(self) -> Seal | None:
        """The seal, or None if the run is not sealed or the seal is damaged."""
        return _readable(self.path / "SEALED", _SEAL)

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
        found = (_readable(file, _ATTEMPT) for file in self._files("attempts", "json"))
        return [attempt for attempt in found if attempt]

    def overrides(self) -> tuple[str, ...]:
        """The overrides of the latest attempt, which are safe to compose.

        Raises UserError if no attempt is readable, or if the overrides would read the environment.
        """
        attempts = self.attempts()
        if not attempts:
            raise UserError(
                f"{self.path / 'attempts'}: no readable record says how the run was made. Remove "
                f"{self.path / 'SEALED'} and give the same `sde-edit run` command again"
            )
        return safe_overrides(attempts[-1].overrides, self.attempt_file(attempts[-1].attempt))

    @property
    def came_to_nothing(self) -> bool:
        """Whether it has no image, and no attempt that may still make one."""
        ended = all(attempt.ended is not None for attempt in self.attempts())
        return ended and not any(self.iter_records())

    def attempt_file(self, attempt: str) -> Path:
        """The file of an AttemptRecord; it may not exist."""
        return self.path / "attempts" / f"{safe_name(attempt)}.json"

    def row_file(self, attempt: str) -> Path:
        """The file of an attempt's ImageRecords; it may not exist."""
        return self.path / "rows" / f"{safe_name(attempt)}.jsonl"

    # -- scores

    def score_file(self, metric: str, version: int, settings: Mapping[str, Any]) -> Path:
        """The file of a metric's score; its hash covers the settings and the sealed images."""
        seal = self.seal
        basis = canonical({"settings": dict(settings), "seal": asdict(seal) if seal else None})
        name = f"{safe_name(metric)}@{version}-{short_digest(basis, 8)}.json"
        return self.path / "metrics" / name

    def scores(self) -> dict[str, Score]:
        """Metric name -> stored score, for the scores of the images that are sealed now."""
        seal = self.seal
        found = {}
        for file in self._files("metrics", "json"):
            score = _readable(file, _SCORE)
            if seal and score and score.seal == seal.digest:
                found[score.metric] = score
        return found

    def headlines(self) -> tuple[dict[str, Headline], list[str]]:
        """As `scores`, without what is long to read; and what is wrong with damaged files."""
        seal = self.seal
        found, problems = {}, []
        for file in self._files("metrics", "json"):
            try:
                score = read_record(file, _HEADLINE, _SCORE_AGAIN)
            except FileNotFoundError:
                continue  # another process has just replaced it
            except DamagedFileError as error:
                problems.append(str(error))
                continue
            if not all(map(math.isfinite, (score.value, score.low, score.high))):
                problems.append(f"{file}: its value is not finite. {_SCORE_AGAIN}")
            elif seal and score.seal == seal.digest:
                found[score.metric] = score
        return found, problems

    def stored_score(self, file: Path, metric: str) -> Score | None:
        """The score of a metric in a file; None if it is missing, damaged or of other images."""
        seal, score = self.seal, _readable(file, _SCORE)
        fits = seal and score and score.metric == metric and score.seal == seal.digest
        return score if fits else None


# ------------------------------------------------------------------ files of a run
def _readable(file: Path, adapter: TypeAdapter[T]) -> T | None:
    """The record in a file, or None if the file is missing or damaged."""
    try:
        return read_record(file, adapter, "")
    except (FileNotFoundError, DamagedFileError):
        return None


def _problem(file: Path, adapter: TypeAdapter[Any], remedy: str) -> str:
    """What is wrong with a file; "" for nothing, or if another process has just deleted it."""
    try:
        read_record(file, adapter, remedy)
    except FileNotFoundError:
        return ""
    except DamagedFileError as error:
        return str(error)
    return ""


def _modified(file: Path) -> int:
    try:
        return file.lstat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _records(file: Path) -> Iterator[ImageRecord]:
    """The records in a row file; none if it is missing or cannot be read."""
    try:
        lines = read_regular(file).split(b"\n")
    except (FileNotFoundError, DamagedFileError):
        return
    yield from filter(None, map(read_row, lines))


def _rows_problem(file: Path) -> str:
    """What is wrong with a file of rows. A last line that a kill cut short is normal."""
    try:
        *whole, _ = read_regular(file).split(b"\n")
    except FileNotFoundError:
        return ""
    except DamagedFileError as error:
        return str(error)
    bad = [number for number, line in enumerate(whole, 1) if read_row(line) is None]
    if not bad:
        return ""
    return (
        f"{file}: {len(bad)} lines hold no record of an image, first line {bad[0]}. The same "
        "`sde-edit run` command makes these images again"
    )


def read_row(line: bytes) -> ImageRecord | None:
    """The record in a line of a row file; None if it is cut short or damaged."""
    try:
        row = _ROW.validate_json(line, strict=True)
    except ValueError:
        return None
    costs = (cost for cost in (row.seconds, row.evaluations, row.calls) if cost is not None)
    is_name = row.file not in ("", ".", "..") and not {"/", os.sep, "\0"} & set(row.file)
    return row if is_name and all(0 <= cost < math.inf for cost in costs) else None


def safe_overrides(overrides: Sequence[str], file: Path) -> tuple[str, ...]:
    """Overrides that were read from a file.

    Raises UserError if one would read environment variables or configs of another folder: a results
    folder may come from somebody else.
    """
    if unsafe := [text for text in overrides if _UNSAFE_OVERRIDE.search(text)]:
        raise UserError(
            f"{file}: the stored override {unsafe[0]!r} would read more than this program's "
            "configs. Give the run's command yourself, with the value in place of it"
        )
    return tuple(overrides)


def read_score(file: Path) -> Score:
    """A stored score; keys that a newer version adds are ignored.

    Raises FileNotFoundError, and DamagedFileError for a file that holds no score.
    """
    return read_record(file, _SCORE, _SCORE_AGAIN)


def write_score(file: Path, score: Score) -> None:
    """Store a score atomically. Raises ValueError for a number that is not finite."""
    text = json.dumps(asdict(score), allow_nan=False)
    write_atomic(file, (text + "\n").encode())


def log_damage(runs: Iterable[Run]) -> None:
    """Log a warning for each damaged file of these runs."""
    for run in runs:
        for problem in run.damage():
            log.warning("run %s: %s", run.id, problem)


class RunStore:
    """All runs under <results>/runs."""

    def __init__(self, results: Path) -> None:
        self.root = results / "runs"

    @classmethod
    def there(cls, results: Path) -> RunStore:
        """The store of a folder that must exist. Raises UserError."""
        if not results.is_dir():
            raise UserError(
                f"{results}: no such folder. paths.results=DIR names the folder of the runs"
            )
        return cls(results)

    def open(self, spec: RunSpec) -> Run:
        """The run of a spec; creates its folder if it is new.

        Writes anew a spec that is damaged, or that an older version stored without `defaults`, and
        clears what killed writers left. Raises UserError if a subfolder is a link.
        """
        run = Run(self.folder(spec))
        if not run.has_spec or not _states_defaults(run.spec, spec):
            text = json.dumps(asdict(spec), indent=2) + "\n"
            write_atomic(run.path / "spec.json", text.encode())
        run.check()
        for file in leftovers(run.path):
            file.unlink(missing_ok=True)
        return run

    def folder(self, spec: RunSpec) -> Path:
        """The folder of a run; it may not exist."""
        parts = (spec.task.name, spec.sampler.name, spec.model.name, f"s{spec.steps:03d}")
        return self.root / "__".join([*map(safe_name, parts), run_id(spec)])

    def find(self, spec: RunSpec) -> Run | None:
        """The run of a spec if it exists; writes nothing."""
        found = sorted(self.root.glob(f"*__{run_id(spec)}/spec.json"))
        return Run(found[0].parent) if found else None

    def runs(self) -> list[Run]:
        """Every usable run, by name. Logs a warning for each one that is left out."""
        runs, problems = self.scan()
        for problem in problems:
            log.warning("left out: %s", problem)
        return runs

    def scan(self) -> tuple[list[Run], list[str]]:
        """The usable runs, by name, and what is wrong with the others."""
        runs, problems = [], []
        for run in map(Run, sorted(self.root.glob("*"))):
            try:
                if _is_run_folder(run.path):
                    run.check()
                    runs.append(run)
            except DamagedFileError as error:
                problems.append(f"run {run.path.name}: {error}")
        return runs, problems


def _states_defaults(stored: RunSpec, composed: RunSpec) -> bool:
    """Whether a stored spec states every default that the composed one does."""
    known = stored.defaults
    return all(
        key in known.get(component, {})
        for component, own in composed.defaults.items()
        for key in own
    )


def _is_run_folder(folder: Path) -> bool:
    """Whether a folder is meant to be a run, by its name or by a spec in it."""
    named = re.search(r"__[0-9a-f]{12}$", folder.name)
    return folder.is_dir() and (bool(named) or (folder / "spec.json").exists())
