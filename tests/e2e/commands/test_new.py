"""`sde-edit new`: skeletons that work as they are written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.commands.new import TRIED_BY, next_steps
from tests.builders import ROOT, no_plugins_left

QUICK = ["steps=2", "data.limit=2", "hardware.threads=1"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Commands run in an empty folder, as a user would."""
    monkeypatch.chdir(tmp_path)
    with no_plugins_left():
        yield


def invoke(*arguments: str, code: int = 0) -> str:
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == code, outcome.output
    return outcome.output


@pytest.mark.parametrize("group", TRIED_BY)
def test_a_skeleton_works_with_the_commands_that_it_prints(group):
    printed = invoke("new", group, f"my_{group}")
    commands = [line.strip() for line in printed.partition("next:\n")[2].splitlines()]
    assert commands == next_steps(group, f"my_{group}", Path("plugins"))
    for command in commands:
        words = shlex.split(command)[1:]
        invoke(*words, *(QUICK if words[0] in ("run", "sweep") else []))
    assert group == "claim" or list(Path("results/runs").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sampler", "My-Sampler"], "cannot be a name: use lower-case letters"),
        (["sampler", "_mine"], "cannot be a name"),
        (["sampler", "null"], "cannot be a name"),
        (["table", "nan"], "cannot be a name"),
        (["metric", "no"], "cannot be a name"),
        (["metric", "über"], "cannot be a name"),
        (["sampler", "ode"], "sampler 'ode' exists already"),
        (["task", "drag"], "task 'drag' exists already"),
    ],
)
def test_names_that_cannot_be_are_refused(arguments, message):
    assert message in invoke("new", *arguments, code=1)
    assert not Path("plugins").exists()


def test_any_folder_can_be_given_again_as_printed():
    printed = invoke("new", "table", "mine", "--into", "it's mine, (all)")
    show = printed.partition("next:\n")[2].splitlines()[0]
    assert "arms" in invoke(*shlex.split(show)[1:])


def test_a_folder_that_cannot_be_written_is_named():
    Path("file").touch()
    said = invoke("new", "metric", "mine", "--into", "file/x", code=1)
    assert "--into file/x: cannot be written (Not a directory)" in said


def test_nothing_is_overwritten():
    with no_plugins_left():
        invoke("new", "metric", "mine", "--into", "a")
    Path("a/metrics/mine.py").write_text("# changed")
    assert "is there already" in invoke("new", "metric", "mine", "--into", "a", code=1)
    assert Path("a/metrics/mine.py").read_text() == "# changed"


def test_the_sampler_is_the_example_of_contributing():
    invoke("new", "sampler", "heun")
    text = (ROOT / "CONTRIBUTING.md").read_text()
    block = re.search(r"```python\n(.*?)```", text.partition("## Add a sampler\n")[2], re.DOTALL)
    assert block
    assert block[1] == Path("plugins/samplers/heun.py").read_text()
