"""Finds runs by the names that a user gives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sde_edit.config import command_on
from sde_edit.errors import UserError
from sde_edit.store.runs import Run, RunStore


def find_run(name: str, results: Path, *, paths: bool = True) -> Run:
    """The run at a path, or the only one whose id or folder begins so. Raises UserError.

    paths: whether a path may name a run.
    """
    if paths and (Path(name) / "spec.json").is_file():
        run = Run(Path(name).resolve())
        run.check()
        return run
    return run_named(name, RunStore(results).runs(), results)


def run_named(name: str, runs: Sequence[Run], results: Path) -> Run:
    """The only one of the runs whose id or folder begins so. Raises UserError."""
    found = [run for run in runs if run.id.startswith(name) or run.path.name.startswith(name)]
    if not found:
        raise UserError(
            f"no run {name!r} in {results / 'runs'}. `{command_on(results, 'runs')}` lists those "
            "that are; paths.results=DIR names another folder"
        )
    if len(found) > 1:
        several = "\n".join(f"  {run.path.name}" for run in found)
        raise UserError(f"{name!r} begins {len(found)} runs; give more of one's id\n{several}")
    return found[0]
