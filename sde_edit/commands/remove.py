"""Remove runs, and what no run needs any more. Nothing goes before `delete` is called."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

from sde_edit.bench import measure
from sde_edit.commands import check, edit
from sde_edit.commands.find import find_run
from sde_edit.config import compose_config
from sde_edit.errors import UserError
from sde_edit.networks.base import COMPILED
from sde_edit.registry import build
from sde_edit.store.files import leftovers
from sde_edit.store.leases import LEASES, are_abandoned, are_held
from sde_edit.store.preparation_cache import PreparationCache
from sde_edit.store.processes import temporary_folders
from sde_edit.store.runs import Run, RunStore

if TYPE_CHECKING:
    from sde_edit.api.task import Task

_KILLED = "leftover of a killed process"
_OTHERS = {  # in a cache, that no run owns
    "chunks.json": "batches that fit",
    COMPILED: "compiled networks; without them hardware.compile=true starts more slowly",
}
_WRITTEN = ("runs", "sweeps", "tables", "figures")  # of a results folder; the rest is not ours


@dataclass(frozen=True)
class Removal:
    """Files and folders to remove, and others that are kept, each with the reason."""

    reasons: dict[Path, str]
    kept: dict[Path, str] = field(default_factory=dict)

    @property
    def paths(self) -> tuple[Path, ...]:
        return (*self.reasons, *self.kept)

    def describe(self) -> str:
        """One line for each path with its size, and the space that is won in all."""
        sizes = {path: _size(path) for path in self.reasons}
        lines = [_line(path, reason, sizes[path]) for path, reason in self.reasons.items()]
        lines.append(f"{len(sizes)} to remove, {_mib(sum(sizes.values()))}")
        for path, reason in self.kept.items():
            inside = sum(size for other, size in sizes.items() if path in other.parents)
            lines.append(f"kept: {_line(path, reason, _size(path) - inside)}")
        return "\n".join(lines)

    def delete(self) -> None:
        """Raises UserError naming what cannot be removed."""
        for path in self.reasons:
            try:
                _delete(path)
            except FileNotFoundError:
                continue  # somebody else has removed it
            except OSError as error:
                raise UserError(f"cannot remove {path}: {error.strerror}") from error


def _line(path: Path, reason: str, size: int) -> str:
    return f"{path}  ({reason}; {_mib(size)})"


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _size(path: Path) -> int:
    inside = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in inside if file.is_file())


def plan_removal(names: Sequence[str], overrides: Sequence[str]) -> Removal:
    """The runs with these names and their rows in the caches of features.

    names: ids or names of run folders, which may be shortened. overrides: only `paths.*`. Raises
    UserError for a name that fits no run or several.
    """
    results, cache = _folders(overrides)
    reasons: dict[Path, str] = {}
    for name in names:
        run = _run_named(name, results)
        reasons[run.path] = f"run {run.id}"
        reasons |= dict.fromkeys(_features(cache, run.id), f"features of run {run.id}")
    return Removal(reasons)


def _run_named(name: str, results: Path) -> Run:
    """A run of this store by its name; a damaged one by its whole id or folder name."""
    if not name:
        raise UserError("an empty name: give the id of a run or the name of its folder")
    found = [
        folder
        for folder in sorted((results / "runs").glob("*__*"))
        if name in (folder.name, Run(folder).id)
    ]
    return Run(found[0]) if len(found) == 1 else find_run(name, results, paths=False)


def plan_prune(overrides: Sequence[str]) -> Removal:
    """What no run needs, and what is kept of the caches and why: see docs/sweeps.md.

    overrides: only `paths.*`. A cache outside of the results is kept: others may share it.
    """
    results, cache = _folders(overrides)
    runs, problems = RunStore(results).scan()
    walked = [*(results / name for name in _WRITTEN), cache]
    removal = Removal(dict.fromkeys([file for own in walked for file in leftovers(own)], _KILLED))
    for run in runs:
        if run.attempts() and run.came_to_nothing:
            removal.reasons[run.path] = "run without an image"
        elif are_abandoned(run.leases):
            removal.reasons[run.leases] = _KILLED
    _sort_temporary(results, removal)
    if cache.resolve().is_relative_to(results.resolve()):
        _sort_features(results, cache, removal)
        _sort_preparations(runs, cache, removal, all_known=not problems)
        _keep_the_rest(cache, removal)
    elif cache.is_dir():
        removal.kept[cache] = "outside of paths.results, so other results may share it"
    _sort_leases(cache, removal)
    if edit.cache_folder().is_dir():
        removal.kept[edit.cache_folder()] = "masks and LoRAs of `sde-edit edit`, digests of data"
    return removal


def _sort_temporary(results: Path, removal: Removal) -> None:
    """The temporary folders of `check`, `bench` and `edit`."""
    elsewhere = Path(gettempdir())
    places = ((check.TEMPORARY, results), (measure.TEMPORARY, results), (edit.TEMPORARY, elsewhere))
    for what, parent in places:
        for folder, is_abandoned in temporary_folders(parent, what).items():
            if not is_abandoned:
                removal.kept[folder] = "its process is at work"
            elif parent == elsewhere and any(folder.glob("*.png")):
                removal.kept[folder] = "an edit that could not be written to its --out"
            else:
                removal.reasons[folder] = _KILLED


def _sort_features(results: Path, cache: Path, removal: Removal) -> None:
    there = {Run(folder).id for folder in (results / "runs").glob("*__*")}
    for part in _features(cache, ""):
        if (run_id := part.name.partition("-")[0]) not in there:
            removal.reasons[part] = f"features of run {run_id}, which is gone"


def _sort_preparations(
    runs: Sequence[Run], cache: Path, removal: Removal, *, all_known: bool
) -> None:
    """The folders <cache>/<preparation>/<hash of the basis>, such as masks and LoRAs.

    all_known: whether `runs` are all that there are; otherwise any folder may be needed.
    """
    users: dict[Path, list[str]] = {}
    for run in runs:
        try:
            task: Task = build("tasks", run.spec.task.kind, run.spec.task.params)
            for preparation in task.preparations:
                folder = PreparationCache(cache, run.spec, preparation).folder
                users.setdefault(folder, []).append(run.id)
        except UserError:  # its settings are of another version
            all_known = False
    for folder in sorted(cache.glob("*/*")):
        name = folder.parent.name
        if folder in users:
            removal.kept[folder] = f"{name} of run {', '.join(users[folder])}"
        elif _is_preparation(folder) and are_held(folder / LEASES):
            removal.kept[folder] = f"{name}; a process is at work there"
        elif _is_preparation(folder) and all_known:
            removal.reasons[folder] = f"{name} of runs that are gone"
        elif _is_preparation(folder):
            removal.kept[folder] = f"{name}; a run that cannot be read may need it"


def _sort_leases(cache: Path, removal: Removal) -> None:
    """Leases on preparations, unless they go with the whole folder."""
    for folder in filter(_is_preparation, sorted(cache.glob("*/*"))):
        if folder not in removal.reasons and are_abandoned(folder / LEASES):
            removal.reasons[folder / LEASES] = _KILLED


def _is_preparation(folder: Path) -> bool:
    return folder.is_dir() and bool(re.fullmatch("[0-9a-f]{12}", folder.name))


def _keep_the_rest(cache: Path, removal: Removal) -> None:
    if (cache / "features").is_dir():
        removal.kept[cache / "features"] = "measured rows of runs that are there"
    for path in sorted(cache.glob("*")):
        sorted_out = any(path in (other, *other.parents) for other in removal.paths)
        if not sorted_out:
            removal.kept[path] = _OTHERS.get(path.name, "not of this program")


def _features(cache: Path, run_id: str) -> list[Path]:
    return sorted((cache / "features").glob(f"*/{run_id}*-*.safetensors"))


def _folders(overrides: Sequence[str]) -> tuple[Path, Path]:
    """The folders of results and of caches. Raises UserError for an override without effect."""
    if idle := [override for override in overrides if not override.startswith("paths.")]:
        raise UserError(f"{idle[0]}: only paths.results=DIR and paths.cache=DIR matter here")
    paths = compose_config(overrides)["paths"]
    return Path(paths["results"]), Path(paths["cache"])
