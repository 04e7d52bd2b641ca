"""The package as a plain wheel, run from a folder outside the repository."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.builders import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(site, *arguments):
    environment = os.environ | {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=site.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_travels_in_the_wheel(site):
    where = run(site, "-c", "import sde_edit.registry as r; print(r.__file__, r.conf_dir())")
    assert all(Path(path).is_relative_to(site) for path in where.split())
    assert "DDIM" in run(site, "-m", "sde_edit", "list")
    assert (site / "sde_edit/assets/shapes/unet/diffusion_pytorch_model.safetensors").is_file()
    assert (site / "sde_edit/py.typed").is_file()
    assert list(site.glob("sde_edit-*.dist-info/licenses/LICENSE"))
    assert not list(site.glob("tests"))


def test_runs_on_the_embedded_model(site, tmp_path):
    where = f"paths.results={tmp_path}"
    run(site, "-m", "sde_edit", "run", "steps=2", "data.limit=2", "metrics=[shapes_lpips]", where)
    assert len(list(tmp_path.glob("runs/*/SEALED"))) == 1
