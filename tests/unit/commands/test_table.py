"""What is read of a table, written again from its JSON."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sde_edit.cli import main
from tests.builders import ROOT

COMMITTED = ROOT / "results" / "tables"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with the JSON of all committed tables, and no runs."""
    shutil.copytree(COMMITTED, tmp_path / "tables", ignore=lambda _, names: not_json(names))
    return tmp_path


def not_json(names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".json")]


def again(results: Path, table: str, *words: str) -> Result:
    return CliRunner().invoke(
        main, ["table", table, "--from-json", f"paths.results={results}", *words]
    )


def read(results: Path, name: str) -> str:
    return (results / "tables" / name).read_text()


def test_the_committed_files_follow_from_the_json(results: Path) -> None:
    done = again(results, "exactness")
    written = [Path(line).relative_to(results) for line in done.output.splitlines()]
    names = ["exactness.md", "exactness.tex", "exactness-notes.tex"]
    assert written[:3] == [Path("tables", name) for name in names]
    assert written[3:] == [Path("figures", f"exactness.{end}") for end in ("png", "svg", "pdf")]
    assert [read(results, name) for name in names] == [(COMMITTED / n).read_text() for n in names]
    assert all((results / path).is_file() for path in written)


def test_the_latex_shows_what_is_asked_for_and_the_rest_stays_whole(results: Path) -> None:
    words = ["--metrics", "source_ssim", "--arms", "DDIB-SDE,DDIB-ODE", "--no-intervals"]
    done = again(results, "table6", *words)
    assert done.exit_code == 0, done.output
    tex = read(results, "table6.tex")
    assert [line for line in tex.splitlines() if line.endswith(r"\\")] == [
        r"pair & circle-square & star-cross \\",
        r"DDIB-SDE & 0.8767 & 0.8191 \\",
        r"DDIB-ODE & \textbf{0.9030} & \textbf{0.8651} \\",
        r"DDIB-SDE $-$ DDIB-ODE & $-$0.0263$^{-}$ & $-$0.0460$^{-}$ \\",
    ]
    assert "Brackets" not in tex
    assert "FID" not in read(results, "table6-notes.tex").partition("Published")[0]
    for name in ("table6.md", "table6.json"):
        assert read(results, name) == (COMMITTED / name).read_text()


def test_a_comma_before_a_blank_is_part_of_a_name(results: Path) -> None:
    done = again(results, "bdia-figure3", "--arms", "EDICT, p 1,BDIA, gamma 1")
    assert done.exit_code == 0, done.output
    tex = read(results, "bdia-figure3.tex")
    labels = re.findall(r"^((?:BDIA|EDICT)[^&]*) &", tex, re.MULTILINE)
    arms = [label for label in dict.fromkeys(labels) if "$-$" not in label]
    assert arms == ["EDICT, p 1", "BDIA, gamma 1"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--metrics", "pnsr"], "table2: no metric 'pnsr'. Did you mean 'psnr'?"),
        (["--arms", "EDICT"], "table2: no arm 'EDICT'. Known: Inpaint-ODE, Inpaint-SDE, "),
        (["--force"], "--from-json replaces no numbers: leave out --force"),
        (["seed=1"], "seed=1: --from-json takes the table as it is; leave this out"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(
    words: list[str], error: str, results: Path
) -> None:
    done = again(results, "table2", *words)
    assert done.exit_code == 1
    assert error in done.output
    assert {path.suffix for path in results.rglob("*.*")} == {".json"}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "table2.json is not there. Write it with `sde-edit table table2 paths"),
        ("[1]", "table2.json holds no table. Write it with `sde-edit table table2 paths"),
        ((COMMITTED / "table3.json").read_text(), "holds the table 'table3', not 'table2'"),
    ],
)
def test_a_file_that_is_not_the_table_is_refused(
    content: str | None, error: str, results: Path
) -> None:
    file = results / "tables" / "table2.json"
    file.unlink()
    if content:
        file.write_text(content)
    done = again(results, "table2")
    assert done.exit_code == 1
    assert error in done.output
