"""What the report's folder holds."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest

from sde_edit.errors import UserError
from sde_edit.store.runs import RunStore
from sde_edit.web.report.write import write_report
from tests.edited import edited_runs, write_table


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with two runs and a table."""
    results = tmp_path_factory.mktemp("made") / "results"
    write_table(results, "filled", edited_runs(results, "task=inpaint", "data.n=4", "steps=25"))
    return results


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "results"))


def report(results: Path) -> dict[str, bytes]:
    """Writes the report; returns its files."""
    folder = write_report([f"paths.results={results}"]).parent
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_same_runs_give_the_same_bytes_wherever_they_are(results, tmp_path):
    first = report(results)
    assert report(results) == first
    assert report(Path(shutil.copytree(results, tmp_path / "elsewhere"))) == first
    assert not [name for name, content in first.items() if str(tmp_path).encode() in content]


def test_second_report_writes_nothing_that_is_there(results):
    index = write_report([f"paths.results={results}"])
    before = {file: file.stat().st_mtime_ns for file in index.parent.rglob("*")}
    write_report([f"paths.results={results}"])
    assert {file: file.stat().st_mtime_ns for file in index.parent.rglob("*")} == before


def test_every_address_in_a_page_is_a_relative_path_of_a_file(results):
    (results / "figures").mkdir()
    (results / "figures" / "filled #1.png").write_bytes(b"png")
    files = report(results)
    folder = results / "report"
    for name in (name for name in files if name.endswith(".html")):
        found = re.findall(r'(?:href|src)="([^"]*)"', files[name].decode())
        addresses = {unquote(address.partition("#")[0]) for address in found} - {""}
        assert addresses
        for address in addresses:
            assert ":" not in address
            assert ((folder / name).parent / address).is_file(), address


def test_page_of_a_table_that_is_gone_is_removed(results):
    assert "tables/filled.html" in report(results)
    (results / "tables" / "filled.json").unlink()
    assert not [name for name in report(results) if "filled" in name]


def test_picture_that_nothing_shows_is_removed_and_other_files_stay(results):
    before = report(results)
    for name in ("pictures/0123.png", "thumbnails/0123.webp", "notes.txt"):
        (results / "report" / name).parent.mkdir(exist_ok=True)
        (results / "report" / name).write_bytes(b"mine")
    assert report(results) == before | {"notes.txt": b"mine"}


def test_file_that_is_no_table_is_named_and_left_out(results, caplog):
    (results / "tables" / "broken.json").write_text("{")
    files = report(results)
    assert "tables/filled.html" in files
    assert "tables/broken.html" not in files
    assert "broken.json holds no table" in caplog.text


def test_index_of_forty_tables_is_below_a_megabyte(results):
    runs = sorted(RunStore(results).runs(), key=lambda run: run.spec.sampler.name)
    for k in range(40):
        write_table(results, f"made{k}", runs)
    files = report(results)
    assert len(files["index.html"]) < 1_000_000
    assert files["index.html"].decode().count("<details data-load") == 42  # and the runs


def test_report_without_runs_shows_the_tables(results):
    shutil.rmtree(results / "runs")
    files = report(results)
    assert b"The images of 8 cells are not here" not in files["index.html"]
    assert b"The images of 10 cells are not here" in files["tables/filled.html"]
    assert b"so the report has no images" in files["index.html"]


def test_override_that_chooses_nothing_is_refused(results):
    with pytest.raises(UserError, match=r"steps=5: a report shows what is stored"):
        write_report([f"paths.results={results}", "steps=5"])


def test_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        write_report([f"paths.results={tmp_path / 'nowhere'}"])


def test_claims_that_do_not_fit_their_table_are_not_tested_and_named_in_a_warning(results, caplog):
    write_table(results, "table2", RunStore(results).runs())
    (results / "tables" / "table5.json").write_text("no table")
    page = report(results)["index.html"]
    assert b"No claim is tested" in page
    assert b"Inpainting by SDE beats ODE at every number of steps" in page
    assert "claim 'inpaint': table table2 has no metric" in caplog.text
    assert "claim 'inpaint-second-order': " in caplog.text
    assert "table5.json holds no table. Write it with" in caplog.text
