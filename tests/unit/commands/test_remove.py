"""`rm` and `prune`: what they list, and that nothing else goes."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest
from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.config import experiment
from sde_edit.store.files import write_atomic
from sde_edit.store.leases import Leases
from sde_edit.store.preparation_cache import PreparationCache
from sde_edit.store.runs import Run, RunStore
from tests.builders import finished_run, make_spec

GONE = 2**22 - 1  # above every process id


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files and the user's cache, both empty."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "home"))
    return folder


def call(*arguments: str, code: int = 0, answer: str = "") -> str:
    result = CliRunner().invoke(main, arguments, input=answer)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    store = RunStore(tmp_path)
    found = [finished_run(store, make_spec(s), {"psnr": 20.0}) for s in ("ode", "sde")]
    for run in found:
        write_atomic(features(tmp_path, run.id), b"x")
    return found


def features(results: Path, run_id: str) -> Path:
    return results / "cache" / "features" / "psnr@1-x" / f"{run_id}-1.safetensors"


def test_rm_asks_and_takes_a_run_with_its_features(tmp_path: Path, runs: list[Run]) -> None:
    ode, sde = runs
    where = f"paths.results={tmp_path}"
    assert str(ode.path) in call("rm", ode.id[:6], where, code=1, answer="n\n")
    assert ode.path.is_dir()
    call("rm", ode.id[:6], where, answer="y\n")
    assert not ode.path.exists()
    assert not features(tmp_path, ode.id).exists()
    assert sde.path.is_dir()
    assert features(tmp_path, sde.id).exists()
    (sde.path / "spec.json").write_bytes(b"")  # a damaged run goes by its whole id
    call("rm", sde.id, where, "--yes")
    assert not sde.path.exists()


@pytest.mark.parametrize("name", ["", "zzz", "../x", "inpaint__", "/"])
def test_rm_refuses_what_names_no_single_run(tmp_path: Path, runs: list[Run], name: str) -> None:
    (tmp_path / "x").mkdir()
    write_atomic(tmp_path / "x" / "spec.json", (runs[0].path / "spec.json").read_bytes())
    assert "Error" in call("rm", name, f"paths.results={tmp_path}", "--yes", code=1)
    assert all(run.path.is_dir() for run in runs)


def test_rm_of_a_linked_run_removes_the_link(tmp_path: Path, runs: list[Run]) -> None:
    run = runs[0]
    elsewhere = run.path.rename(tmp_path / run.path.name)
    run.path.symlink_to(elsewhere)
    call("rm", run.id, f"paths.results={tmp_path}", "--yes")
    assert not run.path.is_symlink()
    assert (elsewhere / "spec.json").is_file()


def test_prune_lists_and_then_removes_what_no_run_needs(tmp_path: Path, runs: list[Run]) -> None:
    empty = RunStore(tmp_path).open(make_spec("plms"))
    at_work = RunStore(tmp_path).open(make_spec("edict"))
    for run, ended in ((empty, 2.0), (at_work, None)):
        record = {"attempt": "a", "started": 1.0, "ended": ended}
        write_atomic(run.attempt_file("a"), json.dumps(record).encode())
    stale = features(tmp_path, "0" * 12)
    leftover = runs[0].path / "outputs" / ".a.png.0123456789ab.tmp"
    for file in (stale, leftover):
        write_atomic(file, b"x")
        os.utime(file, (0, 0))
    listed = call("prune", f"paths.results={tmp_path}")
    assert "3 to remove" in listed
    gone = (empty.path, stale, leftover)
    for path in gone:
        assert str(path) in listed
        assert path.exists()
    call("prune", f"paths.results={tmp_path}", "--yes")
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in (at_work.path, features(tmp_path, runs[0].id)))
    assert "0 to remove" in call("prune", f"paths.results={tmp_path}")


def test_prune_walks_no_folder_of_other_things(tmp_path: Path) -> None:
    """paths.results=/ would walk the whole machine, and remove what other programs left there."""
    other = tmp_path / "home" / ".a.png.0123456789ab.tmp"
    write_atomic(other, b"x")
    os.utime(other, (0, 0))
    assert "0 to remove" in call("prune", "--yes", f"paths.results={tmp_path}")
    assert other.exists()


@pytest.mark.parametrize("task", ["diffedit", "drag"])
def test_prune_lists_masks_and_loras_only_of_runs_that_are_gone(tmp_path: Path, task: str) -> None:
    where, cache = f"paths.results={tmp_path}", tmp_path / "cache"
    data = {"diffedit": "shapes-edits", "drag": "shapes-drags"}[task]
    chosen = experiment([f"task={task}", f"data={data}", "sampler=sde", where])
    run = finished_run(RunStore(tmp_path), chosen.spec, {})
    (preparation,) = chosen.task.preparations
    folder = PreparationCache(cache, chosen.spec, preparation).folder
    write_atomic(folder / "a", bytes(2**20))
    write_atomic(cache / "chunks.json", b"{}")
    kept = f"kept: {folder}  ({preparation.name} of run {run.id}; 1.0 MiB)"
    listed = call("prune", where)
    assert "0 to remove" in listed
    assert kept in listed
    assert f"kept: {cache / 'chunks.json'}" in listed
    (run.path / "spec.json").rename(tmp_path / "spec.json")  # nobody knows what it needs
    assert "0 to remove" in call("prune", where)
    (tmp_path / "spec.json").rename(run.path / "spec.json")
    call("rm", run.id, where, "--yes")
    assert f"{folder}  ({preparation.name} of runs that are gone; 1.0 MiB)" in call("prune", where)
    call("prune", where, "--yes")
    assert not folder.exists()
    assert (cache / "chunks.json").is_file()


@pytest.mark.parametrize("what", [".check", ".bench", "sde-edit-edit"])
def test_prune_lists_the_folders_of_killed_commands(
    tmp_path: Path, elsewhere: Path, what: str
) -> None:
    parent = elsewhere if what == "sde-edit-edit" else tmp_path
    host = platform.node()
    gone, at_work, remote, old = (
        parent / f"{what}-{owner}-x1_y2345"
        for owner in (f"{host}-{GONE}", f"{host}-{os.getpid()}", "a-b-1", f"a-b-{os.getpid()}")
    )
    for folder in (gone, at_work, remote, old):
        write_atomic(folder / "cache" / "x", b"x")
    own = parent / f"{what}-results"  # of the user
    write_atomic(own / "x", b"x")
    os.utime(own / "x", (0, 0))
    os.utime(own, (0, 0))
    for path in (old / "cache" / "x", old / "cache", old):
        os.utime(path, (0, 0))
    write_atomic(gone / "out.png", b"the result of an edit")
    is_result = what == "sde-edit-edit"
    listed = call("prune", f"paths.results={tmp_path}", "--yes")
    assert f"{1 if is_result else 2} to remove" in listed
    assert gone.exists() == is_result
    assert all(folder.is_dir() for folder in (at_work, remote))
    assert not old.exists()
    assert (own / "x").is_file()
    assert f"kept: {at_work}  (its process is at work" in listed


def test_prune_lists_leases_without_an_owner(tmp_path: Path, runs: list[Run]) -> None:
    dead, alive = runs
    write_atomic(dead.leases / "a.alive", f"{platform.node()} {GONE}".encode())
    with Leases(alive.leases, "a"):
        listed = call("prune", f"paths.results={tmp_path}", "--yes")
        assert alive.leases.is_dir()
    assert "1 to remove" in listed
    assert not dead.leases.exists()


@pytest.mark.parametrize("place", ["results/cache", "shared"])
def test_prune_lists_leases_on_preparations_without_an_owner(tmp_path: Path, place: str) -> None:
    results, cache = tmp_path / "results", tmp_path / place
    where = [f"paths.results={results}", f"paths.cache={cache}"]
    chosen = experiment(["task=diffedit", "data=shapes-edits", "sampler=sde", *where])
    finished_run(RunStore(results), chosen.spec, {})
    (preparation,) = chosen.task.preparations
    own = PreparationCache(cache, chosen.spec, preparation)
    write_atomic(own.folder / "a.png", b"x")
    write_atomic(own.leases / "a.alive", f"{platform.node()} {GONE}".encode())
    with Leases(own.leases, "b"):
        assert "0 to remove" in call("prune", *where)
    assert f"{own.leases}  (leftover of a killed process" in call("prune", *where, "--yes")
    assert not own.leases.exists()
    assert (own.folder / "a.png").exists()


def test_prune_keeps_a_preparation_that_is_being_computed(tmp_path: Path) -> None:
    where, folder = f"paths.results={tmp_path}", tmp_path / "cache" / "masks" / ("0" * 12)
    with Leases(folder / "leases", "a"):
        listed = call("prune", where, "--yes")
        assert "0 to remove" in listed
        assert f"kept: {folder}  (masks; a process is at work there" in listed
    assert f"{folder}  (masks of runs that are gone" in call("prune", where, "--yes")
    assert not folder.exists()


def test_prune_leaves_a_cache_that_others_may_share(tmp_path: Path, runs: list[Run]) -> None:
    part = features(tmp_path / "other", "0" * 12)
    write_atomic(part, b"x")
    shared = f"paths.cache={tmp_path / 'other' / 'cache'}"
    assert "0 to remove" in call("prune", f"paths.results={tmp_path / 'own'}", shared)
    assert "paths.results" in call("prune", "steps=3", code=1)
