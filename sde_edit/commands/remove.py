"""Remove runs, and what no run needs any more. Nothing goes before `delete` is called."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sde_edit.commands.find import find_run
from sde_edit.config import compose_config
from sde_edit.errors import UserError
from sde_edit.store.files import leftovers
from sde_edit.store.runs import Run, RunStore


@dataclass(frozen=True)
class Removal:
    """Files and folders to remove, each with the reason."""

    reasons: dict[Path, str]

    def describe(self) -> str:
        """One line for each path, and the space that they take in all."""
        lines = [f"{path}  ({reason})" for path, reason in self.reasons.items()]
        size = sum(_size(path) for path in self.reasons)
        return "\n".join([*lines, f"{len(lines)} to remove, {size / 2**20:.1f} MiB"])

    def delete(self) -> None:
        """Raises UserError naming what cannot be removed."""
        for path in self.reasons:
            try:
                _delete(path)
            except FileNotFoundError:
                continue  # somebody else has removed it
            except OSError as error:
                raise UserError(f"cannot remove {path}: {error.strerror}") from error


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
    """What no run needs: runs without an image, features of runs that are gone, leftovers of
    killed writers. overrides: only `paths.*`.

    Caches of masks and LoRAs stay, as later runs may need them.
    """
    results, cache = _folders(overrides)
    reasons = dict.fromkeys(leftovers(results), "leftover of a killed process")
    reasons |= dict.fromkeys(leftovers(cache), "leftover of a killed process")
    runs = RunStore(results).scan()[0]
    empty = [run for run in runs if run.attempts() and run.came_to_nothing]
    reasons |= {run.path: "run without an image" for run in empty}
    if cache.resolve().is_relative_to(results.resolve()):  # otherwise other folders may share it
        reasons |= _stale_features(results, cache)
    return Removal(reasons)


def _stale_features(results: Path, cache: Path) -> dict[Path, str]:
    there = {Run(folder).id for folder in (results / "runs").glob("*__*")}
    parts = ((part, part.name.partition("-")[0]) for part in _features(cache, ""))
    return {part: f"features of run {i}, which is gone" for part, i in parts if i not in there}


def _features(cache: Path, run_id: str) -> list[Path]:
    return sorted((cache / "features").glob(f"*/{run_id}*-*.safetensors"))


def _folders(overrides: Sequence[str]) -> tuple[Path, Path]:
    """The folders of results and of caches. Raises UserError for an override without effect."""
    if idle := [override for override in overrides if not override.startswith("paths.")]:
        raise UserError(f"{idle[0]}: only paths.results=DIR and paths.cache=DIR matter here")
    paths = compose_config(overrides)["paths"]
    return Path(paths["results"]), Path(paths["cache"])
