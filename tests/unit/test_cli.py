"""The command line stays light until a verb needs more."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from sde_edit import registry
from sde_edit.cli import main
from sde_edit.imaging.files import read_rgb
from sde_edit.theory import FIGURES


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["run", "--help"], ["--version"]])
def test_help_and_list_import_nothing_heavy(arguments):
    script = (
        "import sys\n"
        "from sde_edit.cli import main\n"
        f"main({arguments}, standalone_mode=False)\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'hydra', 'matplotlib', 'wandb',\n"
        "    'starlette', 'uvicorn', 'jinja2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_warnings_of_the_decoders_are_not_shown(tmp_path):
    """They name no file. In these tests a warning is an error, unless it is silenced."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0e\x01\x02\0c\0\0\0\xff\xff\xff\x7f\0\0\0\0"
    Image.new("RGB", (64, 64)).save(tmp_path / "a.jpg", exif=exif)
    with pytest.warns(UserWarning, match="larger than file"):
        read_rgb(tmp_path / "a.jpg")
    command = ["data", "status", "data=folder", f"data.images={tmp_path}", "data.resolution=64"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output


def test_results_are_read_without_torch(tmp_path):
    script = (
        "import sys\n"
        "from sde_edit.cli import main\n"
        f"main(['status', 'paths.results={tmp_path}'], standalone_mode=False)\n"
        "assert 'diffusers' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_figures_are_listed_like_the_yaml_groups():
    outcome = CliRunner().invoke(main, ["list", "figure"])
    assert outcome.exit_code == 0, outcome.output
    assert [line.split()[0] for line in outcome.output.splitlines()] == ["figure:", *FIGURES]


def test_figure_is_written_where_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("sde_edit.theory.plots.HISTOGRAM_STEPS", 4)
    monkeypatch.setattr("sde_edit.theory.plots.SAMPLES", 100)
    outcome = CliRunner().invoke(main, ["figure", "figure5", f"paths.results={tmp_path}"])
    assert outcome.exit_code == 0, outcome.output
    written = [tmp_path / "figures" / f"figure5.{suffix}" for suffix in ("png", "svg", "pdf")]
    assert [Path(line) for line in outcome.output.splitlines()] == written
    assert all(path.is_file() for path in written)


@pytest.mark.parametrize("command", [["run"], ["edit", "inpaint"]])
def test_a_setting_given_as_an_option_is_answered_with_its_form(command):
    outcome = CliRunner().invoke(main, [*command, "--sampler", "ode"])
    assert outcome.exit_code == 2
    assert "No such option" in outcome.output
    assert "Settings are written KEY=VALUE" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["figure6"],
            "no figure 'figure6'. Did you mean 'figure5'? Known: figure5, theory_kl, theory_sched",
        ),
        (["figure5", "steps=25"], "steps=25: figure5 has no settings"),
    ],
)
def test_figure_refuses_what_it_cannot_do(arguments, words):
    outcome = CliRunner().invoke(main, ["figure", *arguments])
    assert outcome.exit_code == 1
    assert words in outcome.output


def test_presentation_imports_no_torch_and_no_pyplot() -> None:
    modules = [f"sde_edit.report.tables.{kind}" for kind in registry.kinds("tables")]
    modules += [f"sde_edit.report.figures.{kind}" for kind in registry.kinds("figures")]
    modules += [
        "sde_edit.report.table",
        "sde_edit.report.results",
        "sde_edit.report.summary",
        "sde_edit.report.leaderboard",
        "sde_edit.report.records",
        "sde_edit.report.contact_sheet",
    ]
    heavy = "{'torch', 'matplotlib.pyplot'}"
    code = f"import sys, {', '.join(modules)}\nassert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_full_disk_under_the_output_is_said():
    command = [sys.executable, "-m", "sde_edit", "list", "sampler"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: cannot write the output: No space left on device")
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_what_the_machine_refuses_is_no_traceback(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path / "a"))

    monkeypatch.setattr("sde_edit.commands.status.describe_status", refused)
    result = CliRunner().invoke(main, ["status"])
    assert result.exit_code == 1
    assert f"Error: {tmp_path / 'a'}: Read-only file system." in result.output


def test_show_explains_one_choice_at_a_time():
    result = CliRunner().invoke(main, ["show", "task=drag,inpaint"])
    assert result.exit_code == 1
    assert "one value each, please: task=drag,inpaint" in result.output
