"""`sde-edit run` on models without text, with a folder of images that fit them."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sde_edit.cli import main
from sde_edit.store.runs import RunStore


@pytest.fixture
def run(tmp_path):
    """Inpaint three random pictures of a given size; half of each is hidden."""

    def call(side, *overrides, code=0):
        for name in ("images", "masks"):
            (tmp_path / name).mkdir(exist_ok=True)
        mask = np.zeros((side, side), np.uint8)
        mask[:, side // 2 :] = 255
        for seed in range(3):
            pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / f"{seed}.png")
            Image.fromarray(mask).save(tmp_path / "masks" / f"{seed}.png")
        data = ["data=folder", f"data.images={tmp_path}/images", f"data.mask_root={tmp_path}/masks"]
        outcome = CliRunner().invoke(main, [
            *("run", "task=inpaint", *data, "data.hole=white", f"data.resolution={side}"),
            *("steps=4", "metrics=[psnr]", "hardware.threads=1", f"paths.results={tmp_path}/out"),
            *overrides,
        ])  # fmt: skip
        assert outcome.exit_code == code, outcome.output
        return RunStore(tmp_path / "out").runs() if code == 0 else outcome.output

    return call


def test_the_mixture_takes_pictures_of_its_size(run):
    (done,) = run(8, "model=gmm", "data.prompt=red")
    assert done.seal.n == 3
    assert all(row.evaluations == 8 for row in done.rows().values())  # 4 steps, two rows each


def test_a_sweep_over_the_settings_of_a_mixture_is_not_one_model(run):
    """The model is kept between runs, but not when its settings change."""
    many = "model.components=[{name: a, mean: 0.5, sd: 0.1}],[{name: a, mean: -0.5, sd: 0.1}]"
    one, two = run(8, "model=gmm", "task.guidance=1", many)
    assert one.seal.digest != two.seal.digest


def test_an_unknown_class_is_named(run):
    assert "Did you mean 'red'" in run(8, "model=gmm", "data.prompt=rad", code=1)


def test_ddpm_takes_pictures_of_its_size(run, tiny_ddpm):
    small = ["model=cifar10", f"model.path={tiny_ddpm}", "model.resolution=16"]
    assert "task.guidance=1" in run(16, *small, code=1)
    (done,) = (r for r in run(16, *small, "task.guidance=1") if r.seal)  # the other came to nothing
    assert done.seal.n == 3
    assert all(row.evaluations == 4 for row in done.rows().values())
