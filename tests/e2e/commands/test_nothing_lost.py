"""A result that cannot be written is kept; a run that came to nothing is not."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sde_edit.api.launcher import Job, Launched
from sde_edit.cli import main
from sde_edit.commands import edit
from sde_edit.errors import UserError
from sde_edit.store.runs import RunStore
from tests.builders import begin_attempt

TINY = ("model=gmm", "steps=2", "task.prompt=", "dtype=float32")


def picture(folder: Path, side: int = 8) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "photo.png"
    Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(file)
    return file


def make(folder: Path, out: Path, *overrides: str) -> list[Path]:
    given = ["task=reconstruct", *TINY, f"paths.cache={folder / 'cache'}", *overrides]
    given.append("data.resolution=8")
    photo = {"image": str(picture(folder / "in"))}
    return edit.edit_picture(photo, out=out, force=False, overrides=given)


def test_a_full_disk_keeps_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(files: object) -> None:
        raise UserError("full") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(edit, "write_together", full)
    with pytest.raises(UserError, match=r"No space left .* kept as (?P<kept>\S+)") as caught:
        make(tmp_path, tmp_path / "out.png")
    kept = Path(str(caught.value).rpartition(" ")[2])
    with Image.open(kept) as image:
        assert image.size == (8, 8)
    assert {file.name for file in kept.parent.iterdir()} == {"out.png", "out-sheet.png"}
    shutil.rmtree(kept.parent)


def test_an_out_that_cannot_be_written_costs_no_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edit, "run_all", lambda *a, **k: pytest.fail("it was edited"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="--out"):
        make(tmp_path, tmp_path / "file" / "out.png")


def test_impossible_settings_leave_no_run_behind(tmp_path: Path) -> None:
    images = picture(tmp_path / "in").parent
    given = ["task=reconstruct", *TINY, "data=folder", f"data.images={images}"]
    given += ["data.resolution=8", "metrics=[]", f"paths.results={tmp_path / 'results'}"]
    wrong = CliRunner().invoke(main, ["run", *given, "data.resolution=4"])
    assert wrong.exit_code == 1
    assert not list((tmp_path / "results").glob("runs/*"))
    right = CliRunner().invoke(main, ["run", *given])
    assert right.exit_code == 0, right.output
    assert len(RunStore(tmp_path / "results").runs()) == 1


def test_a_sweep_whose_jobs_fail_leaves_no_run_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = picture(tmp_path / "in").parent
    given = ["task=reconstruct", *TINY, "data=folder", f"data.images={images}"]
    given += ["data.resolution=8", "metrics=[]", f"paths.results={tmp_path}"]
    at_work = begin_attempt([*given, "sampler=sde"])

    def launch(_: object, jobs: list[Job], worker: object, *more: object) -> Launched:
        begun = [begin_attempt(job.overrides[0], ended=1.0, error="bad") for job in jobs]
        assert len(begun) == 3
        return Launched({"a": "bad"})

    monkeypatch.setattr("sde_edit.engine.launchers.local.Local.launch", launch)
    swept = CliRunner().invoke(main, ["sweep", *given, "sampler=ode,ode2,sde2"])
    assert swept.exit_code == 1
    assert "1 of 3 jobs failed" in swept.output
    assert [run.id for run in RunStore(tmp_path).runs()] == [at_work.id]
