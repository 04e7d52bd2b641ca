"""The command line stays light until a verb needs more."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["run", "--help"], ["--version"]])
def test_help_and_list_import_nothing_heavy(arguments):
    script = (
        "import sys\n"
        "from sde_edit.cli import main\n"
        f"main({arguments}, standalone_mode=False)\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'hydra', 'matplotlib', 'wandb'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_results_are_read_without_torch(tmp_path):
    script = (
        "import sys\n"
        "from sde_edit.cli import main\n"
        f"main(['status', 'paths.results={tmp_path}'], standalone_mode=False)\n"
        "assert 'diffusers' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
