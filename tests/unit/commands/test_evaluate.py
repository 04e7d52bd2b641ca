"""Runs scored by name, without the overrides that they were made with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sde_edit.cli import main
from sde_edit.store.runs import Run, RunStore

MADE = [
    *("task=reconstruct", "task.guidance=1.0", "model=gmm", "steps=10", "dtype=float32"),
    *("data=folder", "data.resolution=8", "data.fit=exact", "task.prompt=", "hardware.threads=1"),
]


def invoke(*arguments: str, code: int = 0) -> str:
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == code, outcome.output
    return outcome.stdout if code == 0 else outcome.output


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in "abcd":
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def run(images: Path, tmp_path: Path) -> Run:
    """A run of a folder of pictures, without scores."""
    given = [f"data.images={images}", "metrics=[]", f"paths.results={tmp_path / 'results'}"]
    invoke("run", *MADE, "sampler=ode", "data.limit=3", *given)
    (made,) = RunStore(tmp_path / "results").runs()
    return made


def test_a_run_is_scored_by_its_id_from_its_spec(run: Run, images: Path, tmp_path: Path) -> None:
    given = [f"data.images={images}", f"paths.results={tmp_path / 'results'}"]
    text = invoke("evaluate", run.id[:5], "metrics=[psnr,source_l2]", *given)
    assert "| psnr" in text
    assert set(run.scores()) == {"psnr", "source_l2"}
    assert run.scores()["psnr"].n == 3
    values = {name: score.value for name, score in run.scores().items()}
    by_overrides = [*MADE, "sampler=ode", "metrics=[psnr,source_l2]", *given, "--force"]
    assert invoke("evaluate", *by_overrides) == text
    assert {name: score.value for name, score in run.scores().items()} == values


def test_a_misspelt_metric_is_no_matter_of_the_data(run: Run, tmp_path: Path) -> None:
    given = ["metrics=[psnrr]", f"paths.results={tmp_path / 'results'}"]
    said = invoke("evaluate", run.id, *given, code=1)
    assert "Error: no metric 'psnrr'. Did you mean 'psnr'?" in said
    assert "paths.data" not in said


def test_a_run_elsewhere_is_scored_by_its_path(
    run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    moved = shutil.move(run.path.parent.parent, tmp_path / "moved")
    path = Path(moved) / "runs" / run.path.name
    invoke("evaluate", str(path), "metrics=[psnr]", f"data.images={images}")
    assert set(Run(path).scores()) == {"psnr"}
    assert not (tmp_path / "results").exists()


def test_data_that_are_missing_or_others_are_named_with_the_override(
    run: Run, images: Path, tmp_path: Path
) -> None:
    given = [run.id, f"paths.results={tmp_path / 'results'}", "metrics=[psnr]"]
    missing = invoke("evaluate", *given, code=1)
    assert "data.images must be given" in missing
    assert "paths.data=DIR, data.images=..." in missing
    assert "other data" in invoke(
        "evaluate", *given, f"data.images={images}", "data.fit=crop", code=1
    )
    (images / "e.png").write_bytes((images / "a.png").read_bytes())
    changed = invoke("evaluate", *given, f"data.images={images}", code=1)
    assert "made of other data than there are here: they differ in data.digest" in changed
    assert not run.scores()


def test_the_number_of_examples_is_that_of_the_run(tmp_path: Path, tiny_model: Path) -> None:
    where = f"paths.results={tmp_path}"
    small = ["data.n=300", "data.limit=2", "steps=2", f"model.path={tiny_model}", "metrics=[]"]
    invoke("run", *small, where)
    (run,) = RunStore(tmp_path).runs()
    invoke("evaluate", run.id, "metrics=psnr", where)
    assert run.scores()["psnr"].n == 2
    assert run.seal
    assert run.seal.of == 300


def test_without_metrics_those_of_the_data_are_computed(tmp_path: Path, tiny_model: Path) -> None:
    where = f"paths.results={tmp_path}"
    invoke("run", "data.limit=2", "steps=2", f"model.path={tiny_model}", "metrics=[]", where)
    (run,) = RunStore(tmp_path).runs()
    invoke("evaluate", run.id, where)
    assert {"psnr", "shapes_fid", "truth_error"} <= set(run.scores())


def test_what_has_no_effect_is_refused(run: Run, tmp_path: Path) -> None:
    where = f"paths.results={tmp_path / 'results'}"
    assert "steps=3: the runs are finished" in invoke("evaluate", run.id, "steps=3", where, code=1)
    assert "no run 'zz'" in invoke("evaluate", "zz", where, code=1)
    (run.path / "SEALED").unlink()
    assert "is not finished" in invoke("evaluate", run.id, where, code=1)


def test_a_run_of_data_without_a_config_is_named(run: Run, images: Path, tmp_path: Path) -> None:
    spec = json.loads((run.path / "spec.json").read_text())
    assert spec["data"]["name"] == "folder"
    spec["data"] |= {"name": "mine", "kind": "nothing"}
    from sde_edit.store.files import canonical, short_digest

    identity = {key: value for key, value in spec.items() if key != "defaults"}
    other = run.path.with_name(f"x__{short_digest(canonical(identity))}")
    shutil.copytree(run.path, other)
    (other / "spec.json").write_text(json.dumps(spec))
    where = f"paths.results={tmp_path / 'results'}"
    assert "nothing" in invoke("evaluate", str(other), "metrics=[psnr]", where, code=1)
