"""The commands of README, tutorials and guides: all of them parse, and those for a laptop run."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.config import check_known
from sde_edit.registry import names
from tests.builders import ROOT, box_mask, no_plugins_left, picture

PAGES = ["README.md", *(f"docs/tutorials/{p.name}" for p in ROOT.glob("docs/tutorials/*.md"))]
GUIDES = ["CONTRIBUTING.md", *(f"docs/{page.name}" for page in ROOT.glob("docs/*.md"))]
# What needs a cluster, a GPU, weights or data that are not shipped, or runs of an earlier command.
ELSEWHERE = (
    "experiment=",
    "launcher=slurm",
    "model=sd15",
    "data=places",
    "table=table2",
    "sde-edit edit",
)
PLUGINS = [("sampler", "heun"), ("sampler", "euler"), ("table", "mine"), ("table", "my_table")]
QUICK = ["steps=2", "data.limit=2", "hardware.threads=1"]


def commands(page: str) -> list[str]:
    """The lines of a page's code blocks that call sde-edit, continued lines joined."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(.*)\n((?:(?!```).*\n)*)```", text, re.MULTILINE)
    shell = "".join(block for language, block in blocks if language in ("", "bash"))
    lines = shell.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("sde-edit ")]


def words(command: str) -> list[str]:
    return shlex.split(command, comments=True)[1:]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder with the photos and plug-ins that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "photo.png", "cat.jpg"):
        picture(96, 72).save(name)
    box_mask(96, 72).save("mask.png")
    with no_plugins_left():
        yield


def parsed(arguments: list[str]) -> list[str]:
    """The overrides of a command that is parsed and not invoked."""
    command: click.Command = main
    ctx = click.Context(main)
    while isinstance(command, click.Group):
        name, found, arguments = command.resolve_command(ctx, arguments)
        assert name
        assert found
        command = found
    ctx = command.make_context(command.name, list(arguments))
    return [str(word) for word in ctx.params.get("overrides", ())]


def with_its_plugins(command: str) -> None:
    """Make the plug-ins that a command names, where it looks for them."""
    folder = re.search(r"plugins=(\w+)", command)
    for kind, name in PLUGINS:
        if folder and re.search(rf"{kind}=(\w+,)*{name}\b", command):
            CliRunner().invoke(main, ["new", kind, name, "--into", folder[1]])


@pytest.mark.parametrize("page", [*PAGES, *GUIDES])
def test_every_command_parses_and_names_what_exists(page):
    for command in commands(page):
        with no_plugins_left():
            with_its_plugins(command)
            overrides = parsed(words(command))
            tables = [one.partition("=")[2] for one in overrides if one.startswith("table=")]
            assert {name for one in tables for name in one.split(",")} <= set(names("table")), (
                command
            )
            check_known([o for o in overrides if not o.startswith(("table=", "setting="))])


def for_a_laptop(page: str) -> list[str]:
    return [c for c in commands(page) if not any(word in c for word in ELSEWHERE)]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_commands_for_a_laptop_run_in_their_order(page):
    for command in for_a_laptop(page):
        arguments = words(command)
        quick = QUICK if arguments[0] in ("run", "sweep", "summary") else []
        outcome = CliRunner().invoke(main, [*arguments, *quick])
        assert outcome.exit_code == 0, f"{command}\n{outcome.output}"
