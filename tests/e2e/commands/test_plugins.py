"""A sampler, a preset and a table from a folder, through the command line."""

import pytest
from click.testing import CliRunner

from sde_edit.cli import main
from tests.builders import no_plugins_left, plugin_folder, without_workers

PRESET = """# @package _global_
# Half steps on the mixture
defaults:
  - override /sampler: halved
  - override /model: gmm
model: {shape: [3, 64, 64]}
task: {prompt: "", guidance: 1.0}
data: {limit: 3}
steps: 2
metrics: [psnr]
"""
TABLE = """# Half steps against whole ones
name: halves
kind: arms
title: Half steps
runs:
  task: [inpaint]
  steps: [2, 3]
arms:
  - {label: whole, set: {sampler: ode}}
  - {label: half, set: {sampler: halved}}
column: steps
baseline: whole
metrics: [psnr]
also: {metrics: [psnr]}
"""


@pytest.fixture
def folder(tmp_path):
    plugin_folder(tmp_path / "mine")
    own = {"conf/experiment/halves.yaml": PRESET, "conf/table/halves.yaml": TABLE}
    return plugin_folder(tmp_path / "mine", own)


def said(*words):
    outcome = invoked(*words)
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout


def invoked(*words):
    """A command in a process of its own, as far as plug-ins go."""
    with no_plugins_left(), without_workers():
        return CliRunner().invoke(main, list(words))


def test_listed_run_checked_swept_tabled_and_compared(folder, tmp_path):
    mine, results = f"plugins={folder}", f"paths.results={tmp_path / 'results'}"
    assert "halved             Half a step of DDIM" in said("list", "sampler", mine)
    assert "halves             Half steps against whole ones" in said("list", mine)
    assert "halved" not in said("list", "sampler")
    assert "nothing is missing" in said("check", mine, "experiment=halves", results)
    assert "1 runs" in said("sweep", "--dry-run", mine, "experiment=halves", results)
    (half,) = said("run", mine, "experiment=halves", results).splitlines()
    gmm = ("model=gmm", "model.shape=[3,64,64]", 'task.prompt=""', "task.guidance=1")
    written = said("sweep", mine, "table=halves", "data.limit=3", *gmm, results)
    assert "halves.md" in written
    assert "| half" in (tmp_path / "results" / "tables" / "halves.md").read_text()
    assert "halves.csv" in said("table", "halves", mine, "--force", results)
    whole = next(path for path in (tmp_path / "results" / "runs").glob("inpaint__ode__gmm__s002*"))
    assert "contact sheet" in said("compare", half, str(whole), mine, results)
    unnamed = invoked("compare", half, str(whole), results)
    assert unnamed.exit_code == 1
    assert f"run only if you name it: add 'plugins=\"{folder}\"'" in unnamed.output
