"""What the command line of the studio may say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sde_edit.errors import UserError
from sde_edit.web.studio.studio import read_base


def test_the_embedded_model_and_a_free_core_unless_told_otherwise():
    base = read_base(["steps=7", "paths.results=/there"])
    assert base.overrides[:2] == ("model=shapes", "steps=7")
    assert base.overrides[2].startswith("hardware.threads=")
    assert (base.model, base.results) == ("shapes", Path("/there"))


def test_what_is_said_is_kept():
    base = read_base(["model=sd15", "hardware.threads=3"])
    assert base.overrides == ("model=sd15", "hardware.threads=3")
    assert base.model == "sd15"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task=drag", "task=drag: is chosen on the page"),
        ("sampler=ode", "sampler=ode: is chosen on the page"),
        ("task.t_0=0.5", "is chosen on the page"),
        ("data=places", "data=places: is chosen on the page"),
        ("steps=5,6", "one value each"),
        ("steps=0", "steps"),
        ("stepz=5", "stepz"),
    ],
)
def test_what_the_page_decides_or_nobody_knows_is_refused(override, message):
    with pytest.raises(UserError, match=message):
        read_base([override])


def test_the_server_starts_without_torch():
    code = "import sys, sde_edit.web.studio.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
