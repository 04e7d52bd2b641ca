"""Images that are damaged although their files keep their size."""

import os
import shutil

import pytest
from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.commands.status import describe_status
from sde_edit.config import experiment
from sde_edit.engine import damage
from sde_edit.engine.damage import damaged_outputs, remove_damaged
from sde_edit.engine.plan import plan_run
from sde_edit.store.runs import Run, RunStore
from tests.builders import picture
from tests.unit.evaluation.runs import Pictures, make_run


def flip(run, example_id, *, keep_time=False):
    """Flip a bit of an image's file."""
    file = run.output(run.rows()[example_id])
    content, times = bytearray(file.read_bytes()), file.stat()
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    if keep_time:
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, Pictures(4))


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that are decoded."""
    names, read = [], damage.read_output
    monkeypatch.setattr(damage, "read_output", lambda file: names.append(file.name) or read(file))
    return names


def test_a_flipped_bit_is_found_without_decoding_the_others(run, decoded):
    assert damaged_outputs(run) == []
    flip(run, "002")
    assert [row.id for row in damaged_outputs(run)] == ["002"]
    assert decoded == ["002.png"]


def test_a_file_with_an_old_time_is_found_if_every_file_is_decoded(run):
    flip(run, "002", keep_time=True)
    assert damaged_outputs(run) == []
    assert [row.id for row in damaged_outputs(run, every=True)] == ["002"]


def test_what_is_damaged_goes_and_the_rest_is_decoded_once(run, decoded, caplog):
    for row in run.rows().values():
        run.output(row).touch()
    flip(run, "001")
    remove_damaged(run)
    assert sorted(run.rows()) == ["000", "002", "003"]
    assert "001.png is not the image that was made" in caplog.text
    assert sorted(decoded) == ["000.png", "001.png", "002.png", "003.png"]
    remove_damaged(run)
    assert len(decoded) == 4
    flip(run, "003")
    assert [row.id for row in damaged_outputs(run)] == ["003"]


def test_a_copied_folder_holds_what_it_did(run, tmp_path):
    copied = Run(shutil.copytree(run.path, tmp_path / "copy" / run.path.name))
    shutil.copy(run.output(run.rows()["000"]), copied.path / "outputs" / "000.png")
    assert copied.rewritten()
    assert damaged_outputs(copied) == []


# ------------------------------------------------------------------ the commands


@pytest.fixture
def overrides(tmp_path):
    (tmp_path / "images").mkdir()
    for seed in range(3):
        picture(8, 8, seed).save(tmp_path / "images" / f"{seed}.png")
    data = ["data=folder", f"data.images={tmp_path / 'images'}", "data.resolution=8"]
    task = ["task=reconstruct", "model=gmm", "sampler=ode", "steps=4", "task.prompt="]
    return [*task, *data, "hardware.batch_size=2", "metrics=[psnr]", f"paths.results={tmp_path}"]


def call(*arguments):
    outcome = CliRunner().invoke(main, ["run", *arguments])
    assert outcome.exit_code == 0, outcome.output


@pytest.mark.parametrize("keep_time", [False, True])
def test_run_makes_a_damaged_image_again(tmp_path, overrides, keep_time):
    call(*overrides)
    (run,) = RunStore(tmp_path).runs()
    before = {i: run.output(row).read_bytes() for i, row in run.rows().items()}
    seal, damaged = run.seal, list(before)[1]
    flip(run, damaged, keep_time=keep_time)
    if keep_time:  # only who reads it can tell
        call(*overrides, "metrics=[psnr,ssim]")
    else:
        assert f"1 images are not those that were made, first {run.path}" in describe_status(
            [f"paths.results={tmp_path}"]
        )
        assert plan_run(experiment(overrides), run).missing == {damaged}
        call(*overrides)
    assert {i: run.output(row).read_bytes() for i, row in run.rows().items()} == before
    assert run.seal == seal
    assert "not those" not in describe_status([f"paths.results={tmp_path}"])
