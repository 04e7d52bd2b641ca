"""A results folder from a stranger: no path leads out of it, and nothing reads the environment."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from sde_edit.commands.status import describe_status
from sde_edit.errors import UserError
from sde_edit.store.files import DamagedFileError, write_atomic
from sde_edit.store.runs import Run, RunStore
from sde_edit.store.sweeps import SweepRecord
from tests.builders import add_images, finished_run, make_spec


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return finished_run(RunStore(tmp_path / "results"), make_spec(), {"psnr": 20.0})


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret.txt"
    file.write_text("top secret\n")
    return file


def attempt(run: Run, **fields: object) -> None:
    record = {"attempt": "a", "host": "x", "error": "failed", "ended": 1.0, **fields}
    write_atomic(run.attempt_file("a"), json.dumps(record).encode())
    (run.path / "SEALED").unlink(missing_ok=True)


def status(run: Run) -> str:
    return describe_status([f"paths.results={run.path.parent.parent}"])


def test_a_log_outside_the_folder_is_not_shown(run: Run, secret: Path) -> None:
    attempt(run, log=str(secret))
    assert "top secret" not in status(run)
    assert "not in the results folder" in status(run)
    inside = run.path.parent.parent / "worker.log"
    inside.symlink_to(secret)
    attempt(run, log=str(inside))
    assert "top secret" not in status(run)
    inside.unlink()
    inside.write_text("\x1b[2Jits last words\n")
    assert "    [2Jits last words" in status(run)


@pytest.mark.parametrize(
    "file", ["../../../../secret.txt", "/etc/passwd", "a/b.png", "a/", ".", "..", "a\0b", ""]
)
def test_a_row_cannot_name_a_file_elsewhere(run: Run, secret: Path, file: str) -> None:
    row = json.loads(next(iter((run.path / "rows").glob("*"))).read_text().splitlines()[0])
    text = json.dumps(row | {"id": "x", "file": file, "size": secret.stat().st_size})
    write_atomic(run.row_file("b"), f"{text}\n".encode())
    assert "x" not in run.rows()
    assert "1 lines hold no record" in status(run)


def test_linked_outputs_and_folders_are_refused(run: Run, secret: Path, tmp_path: Path) -> None:
    output = run.path / "outputs" / "000.png"
    output.unlink()
    output.symlink_to(secret)
    assert "000" not in run.rows()
    for name in ("outputs", "metrics"):
        folder = run.path / name
        folder.rename(tmp_path / name)
        folder.symlink_to(tmp_path / name)
        with pytest.raises(DamagedFileError, match=f"{name}: is a link"):
            run.check()
        with pytest.raises(UserError, match=f"{name}: is a link"):
            RunStore(tmp_path / "results").open(make_spec())
        assert f"{name}: is a link" in status(run)
        folder.unlink()
        (tmp_path / name).rename(folder)


@pytest.mark.parametrize("override", [
    "task.prompt=${oc.env:HOME}", "data.root=${oc.${x}:HOME}", "hydra.searchpath=[file:///tmp]",
    "+hydra.x=1", "++hydra/x=1",
])  # fmt: skip
def test_stored_overrides_are_not_resolved(run: Run, override: str) -> None:
    attempt(run, overrides=["steps=3", override])
    with pytest.raises(UserError, match=r"a\.json: the stored override"):
        run.overrides()
    SweepRecord([f"launcher.partition={override}"], handle="7").write(
        run.path.parent.parent / "sweeps" / "x"
    )
    assert "status" not in status(run)  # it answers


def test_plain_references_within_the_config_are_kept(run: Run) -> None:
    attempt(run, overrides=["data.root=${paths.data}/x"])
    assert run.overrides() == ("data.root=${paths.data}/x",)


def test_printed_commands_are_quoted(run: Run) -> None:
    attempt(run, overrides=["task.prompt='a; rm -rf ~'"])
    shown = status(run).splitlines()[-1].removeprefix("go on with: ")
    assert shlex.split(shown) == ["sde-edit", "run", "task.prompt='a; rm -rf ~'"]


def test_the_spec_of_another_run_is_named(run: Run) -> None:
    other = RunStore(run.path.parent.parent).open(make_spec("sde"))
    add_images(other, ["a"])
    (other.path / "spec.json").write_bytes((run.path / "spec.json").read_bytes())
    assert f"is the spec of run {run.id}" in status(run)
    assert [found.id for found in RunStore(run.path.parent.parent).runs()] == [run.id]
