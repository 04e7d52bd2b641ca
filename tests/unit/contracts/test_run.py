"""`sde-edit test-plugin`: what it says of good plug-ins, and of each kind of bad one."""

import pytest
from click.testing import CliRunner

from sde_edit.cli import main
from tests.builders import PLUGIN, no_plugins_left, plugin_folder

HEAD = PLUGIN.partition("    def decode")[0]
SAMPLER = {"conf/sampler/halved.yaml": "name: halved\nkind: halved\n"}
LEGS = '''"""Counts legs, made up for tests."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from sde_edit.api.metric import Metric
from sde_edit.registry import plugin


@plugin
@dataclass(frozen=True)
class Legs(Metric):
    """The mean grey, which is no number of legs."""

    version: ClassVar[int] = 1
    higher_is_better: ClassVar[bool] = True

    def convention(self):
        return "mean grey of an image from 0 to 255"

    def measure(self, images_BHWC, examples):
        return images_BHWC.double().mean((1, 2, 3))[:, None]

    def aggregate(self, rows_ND, counts_BN):
        return (counts_BN @ rows_ND)[:, 0] / counts_BN.sum(1)
'''


@pytest.fixture(autouse=True)
def _forgotten():
    with no_plugins_left():
        yield


def report(*words, code=0):
    outcome = CliRunner().invoke(main, ["test-plugin", *map(str, words)])
    assert outcome.exit_code == code, outcome.output
    return outcome.output


def failures(output):
    """Check -> what is wrong, of those that failed."""
    lines = output.splitlines()
    heads = [i for i, line in enumerate(lines) if line.startswith("FAILED")]
    return {lines[i].partition(": ")[2]: lines[i + 1].strip() for i in heads}


SLOW = pytest.param("inpaint", marks=pytest.mark.slow)  # the embedded model, in float64


@pytest.mark.parametrize("name", ["plms", "psnr", "shapes-edits", "gmm", "table2", SLOW])
def test_what_is_built_in_passes(name):
    output = report(name)
    assert "FAILED" not in output
    assert output.splitlines()[-1].endswith("checks, 0 failed")


def test_a_folder_with_a_metric_passes(tmp_path):
    files = {"metrics/legs.py": LEGS, "conf/metric/legs.yaml": "name: legs\nkind: legs\n"}
    assert "7 checks, 0 failed" in report(plugin_folder(tmp_path, files))


BROKEN = {
    "it samples the data": """
    order: ClassVar[int] = 1
    decode = HALF
""",
    "a batch of four": """
    def decode(self, eps, x_BCHW, grid, noise, project=lambda x, i: x, inversion=None):
        x = project(x_BCHW - x_BCHW.mean(), 0)
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            x = project(ddim(x, at(eps, x, s), a_s, a_t), i + 1)
        return x
""",
    "it leaves the global": """
    def decode(self, eps, x_BCHW, grid, noise, project=lambda x, i: x, inversion=None):
        x = project(x_BCHW, 0)
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            x = ddim(x, at(eps, x, s), a_s, a_t)
            x = project(x + 0 * torch.randn(1), i + 1)
        return x
""",
    "it evaluates eps": """
    evaluations_per_step: ClassVar[int] = 2

    def decode(self, eps, x_BCHW, grid, noise, project=lambda x, i: x, inversion=None):
        x = project(x_BCHW, 0)
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            x = project(ddim(x, at(eps, x, s), a_s, a_t), i + 1)
        return x
""",
    "it calls project": """
    def decode(self, eps, x_BCHW, grid, noise, project=lambda x, i: x, inversion=None):
        x = x_BCHW
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            x = project(ddim(x, at(eps, x, s), a_s, a_t), i + 1)
        return x
""",
}
HALF = PLUGIN.partition("    def decode")[2]


@pytest.mark.parametrize("check", BROKEN)
def test_each_fault_of_a_sampler_fails_its_check(check, tmp_path):
    body = BROKEN[check].replace("    decode = HALF\n", f"    def decode{HALF}")
    head = HEAD if "order" not in body else HEAD.replace("    order: ClassVar[int] = 0\n", "")
    text = head.replace("from dataclasses", "import torch\nfrom dataclasses", 1) + body.lstrip("\n")
    output = report(plugin_folder(tmp_path, SAMPLER | {"samplers/halved.py": text}), code=1)
    assert any(failed.startswith(check) for failed in failures(output)), output


def test_an_exception_is_a_failure_with_its_line_and_the_others_go_on(tmp_path):
    text = HEAD + "    def decode(self, *all, **more):\n        raise ZeroDivisionError('oh')\n"
    output = report(plugin_folder(tmp_path, SAMPLER | {"samplers/halved.py": text}), code=1)
    said = failures(output)["it keeps the dtype of the state"]
    assert said.startswith("ZeroDivisionError: oh (")
    assert "halved.py, line " in said
    assert "ok      sampler halved: it declares a version" in output


def test_what_does_not_build_fails_once(tmp_path):
    files = {
        "conf/data/mine.yaml": "# Mine\nname: mine\nkind: folder\nimages: ???\n",
        "conf/table/mine.yaml": "# Mine\nname: mine\nkind: arms\nruns: {steps: [3]}\narms: []\n",
        "samplers/halved.py": PLUGIN,
    }
    found = failures(report(plugin_folder(tmp_path, files), code=1))
    assert "data.images" in found["it is described, and builds"]
    assert "so it cannot be chosen" in found["a config names it"]
    assert "it has a title" in found


def test_overrides_give_what_a_config_leaves_open(tmp_path):
    files = {"conf/data/mine.yaml": "# Mine\nname: mine\nkind: shapes\nsplit: ???\nmasks: small\n"}
    files["conf/data/mine.yaml"] += "n: 3\nprompt: a\nmetrics: []\nlimit: null\n"
    assert "0 failed" in report(plugin_folder(tmp_path, files), "data.split=test")


def test_a_word_that_is_nothing_is_refused():
    assert "Did you mean 'ode2'" in report("odee2", code=1)
    assert "no contract" in report("external", "sampler.outputs=x", code=1)
