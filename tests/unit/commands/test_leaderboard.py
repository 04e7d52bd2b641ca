"""`sde-edit runs` and `sde-edit export` through the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest
from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.store.runs import Run, RunStore
from tests.builders import ROOT, add_score, finished_run, make_spec

PER_EXAMPLE = {f"{i:03d}": 20.0 + i for i in range(8)}


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """Two runs with a metric per example and a distance of distributions."""
    store = RunStore(tmp_path)
    made = []
    for sampler, value in (("ode", 20.0), ("sde", 23.5)):
        run = finished_run(store, make_spec(sampler), {"fid": 3.0})
        add_score(run, "psnr", value, per_example=PER_EXAMPLE)
        made.append(run)
    return made


@pytest.fixture
def call(runs: list[Run], tmp_path: Path) -> Callable[..., str]:
    def called(*words: str, code: int = 0) -> str:
        outcome = CliRunner().invoke(main, [*words, f"paths.results={tmp_path}"])
        assert outcome.exit_code == code, outcome.output
        return outcome.stdout if code == 0 else outcome.output

    return called


def test_runs_as_markdown_and_latex(call: Callable[..., str], runs: list[Run]) -> None:
    text = call("runs", "--sort", "psnr")
    assert text.index(runs[1].id) < text.index(runs[0].id)
    assert "fid ↓" in text
    assert "fid" not in call("runs", "metric=psnr")
    assert r"\toprule" in call("runs", "--format", "tex")
    assert "Did you mean 'psnr'" in call("runs", "--sort", "psnrr", code=1)


def test_runs_as_csv_json_and_parquet(
    call: Callable[..., str], runs: list[Run], tmp_path: Path
) -> None:
    records = json.loads(call("runs", "--format", "json"))
    assert [record["psnr"] for record in records] == [20.0, 23.5]
    assert list(csv.DictReader(io.StringIO(call("runs", "--format", "csv"))))[1]["sampler"] == "sde"
    file = tmp_path / "tables" / "runs.parquet"
    assert call("runs", "--format", "parquet", "--out", str(file)).strip() == str(file)
    assert pyarrow.parquet.read_table(file).to_pylist() == records
    assert "give --out" in call("runs", "--format", "parquet", code=1)


def test_a_file_that_cannot_be_written_is_named(call: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = str(tmp_path / "file" / "runs.csv")
    assert f"--out {out}: cannot be written" in call("runs", "--out", out, code=1)


def test_export_has_a_line_for_each_value(
    call: Callable[..., str], runs: list[Run], tmp_path: Path
) -> None:
    rows = list(csv.DictReader(io.StringIO(call("export"))))
    assert list(rows[0]) == [
        *("run", "task", "sampler", "model", "data", "steps", "example", "metric", "value"),
    ]
    assert len(rows) == 16
    assert {row["metric"] for row in rows} == {"psnr"}
    assert {row["example"]: float(row["value"]) for row in rows[:8]} == PER_EXAMPLE
    file = tmp_path / "values.parquet"
    call("export", "sampler=sde", "--format", "parquet", "--out", str(file))
    table = pyarrow.parquet.read_table(file)
    assert table.num_rows == 8
    assert set(table.column("run").to_pylist()) == {runs[1].id}


def test_export_refuses_what_it_cannot_tell_apart(
    call: Callable[..., str], runs: list[Run]
) -> None:
    assert "no scores of single images" in call("export", "metric=fid", code=1)
    add_score(runs[1], "psnr", 20.0, per_example=PER_EXAMPLE, convention="another peak")
    assert "different conventions" in call("export", code=1)
    assert call("export", "sampler=sde")


def test_lists_need_no_torch_and_no_pyarrow(call: Callable[..., str], tmp_path: Path) -> None:
    code = (
        "import sys; from sde_edit.cli import main\n"
        f"main(['runs', 'paths.results={tmp_path}'], standalone_mode=False)\n"
        f"main(['status', 'paths.results={tmp_path}'], standalone_mode=False)\n"
        "assert not {'torch', 'pyarrow', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("out", ["", "pipe"])
def test_what_is_no_file_is_not_replaced(
    call: Callable[..., str], tmp_path: Path, out: str
) -> None:
    """A rename onto /dev/null would take it from the whole machine."""
    os.mkfifo(tmp_path / "pipe")
    said = call("runs", "--out", str(tmp_path / out) if out else "", code=1)
    assert "is a folder, pipe or device" in said
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_is_written_through(call: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "there.csv")
    call("export", "--out", str(tmp_path / "link.csv"))
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "there.csv").read_text().startswith("run,")
