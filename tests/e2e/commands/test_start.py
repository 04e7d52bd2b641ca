"""What commands read before they have found out whether there is anything to compute."""

import json
import subprocess
import sys

import pytest

from tests.e2e.conftest import Sweeps

HEAVY = ("torch._C", "scipy.special._ufuncs", "diffusers", "transformers", "torchmetrics")
SCRIPT = """
import sys
from sde_edit.cli import main
main({arguments}, standalone_mode=False)
print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""


@pytest.fixture(scope="module")
def finished(sweeps: Sweeps, tmp_path_factory):
    """The results folder of the table's runs."""
    results = tmp_path_factory.mktemp("finished")
    sweeps.run(results)
    return results


def told_and_read(arguments):
    """What a command says in a process of its own, and which heavy modules it read."""
    script = SCRIPT.format(arguments=json.dumps(arguments), heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("verb", "ends"), [("run", ["sampler=ode"]), ("sweep", ["--dry-run"])])
def test_with_nothing_left_to_do_no_network_is_imported(sweeps, finished, verb, ends):
    arguments = [*sweeps.arguments(finished, verb=verb), *ends]
    told, read = told_and_read([a for a in arguments if a != "sampler=ode,sde"])
    assert read == "[]"
    assert "psnr" in told if verb == "run" else "2 finished" in told
