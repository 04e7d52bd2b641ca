"""`sde-edit edit`: one picture, on a small random pipeline."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sde_edit.api.override import override
from sde_edit.cli import main
from sde_edit.config import parsed
from sde_edit.imaging.files import read_rgb


@pytest.fixture
def photo(tmp_path):
    """A picture of 96x72 and a mask of its left half, white."""
    noise = np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8)
    Image.fromarray(noise).resize((96, 72)).save(tmp_path / "photo.jpg")
    mask = np.zeros((72, 96), np.uint8)
    mask[:, :48] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return str(tmp_path / "photo.jpg")


@pytest.fixture
def edit(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def edit(*arguments, code=0):
        small = ["model.resolution=64", "dtype=float32", "steps=3", "hardware.threads=1"]
        out = ["--out", str(tmp_path / "out.png"), f"model.path={tiny_model}"]
        outcome = CliRunner().invoke(main, ["edit", *arguments, *out, *small])
        assert outcome.exit_code == code, outcome.output
        return outcome.output

    return edit


def test_inpaint_writes_the_picture_and_a_sheet(tmp_path, edit, photo):
    said = edit("inpaint", photo, "--mask", str(tmp_path / "mask.png"), "--prompt", "a lake")
    assert {str(tmp_path / "out.png"), str(tmp_path / "out-sheet.png")} <= set(said.split())
    assert np.asarray(read_rgb(tmp_path / "out.png")).shape == (64, 64, 3)
    assert read_rgb(tmp_path / "out-sheet.png").size[0] > 2 * 64


@pytest.mark.parametrize("more", [[], ["--mask", "mask.png"], ["task=roundtrip"]])
def test_prompt(tmp_path, edit, photo, more, monkeypatch):
    monkeypatch.chdir(tmp_path)
    edit("prompt", photo, "--from", 'a "cat", sitting', "--to", "a {dog}", "sampler=ode", *more)
    assert (tmp_path / "out.png").exists()


@pytest.mark.parametrize("more", [[], ["task=drag_diffusion", "sampler=ode", "task.drag_steps=1"]])
def test_drag(tmp_path, edit, photo, more):
    points = ["--from", "40,30", "--to", "56,30", "--from", "50,50", "--to", "50,40"]
    edit("drag", photo, *points, "--prompt", "noise", "task.lora_steps=1", *more)
    assert (tmp_path / "out.png").exists()


def test_a_second_drag_of_a_photo_has_its_lora_at_hand(tmp_path, edit, photo):
    one = ["drag", photo, "--prompt", "noise", "task.lora_steps=1", "--from", "40,30", "--to"]
    edit(*one, "56,30")
    files = {f: f.stat().st_mtime_ns for f in tmp_path.glob("cache/**/lora/*/*.safetensors")}
    assert len(files) == 1
    edit(*one, "40,40", "--force")
    again = tmp_path.glob("cache/**/lora/*/*.safetensors")
    assert {f: f.stat().st_mtime_ns for f in again} == files


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (["--from", "2,30", "--to", "56,30"], "the point 2,30 is outside the central square"),
        (["--from", "40,30", "--from", "1,1", "--to", "5,5"], "--from is given 2 times"),
        (["--from", "40", "--to", "5,5"], "'40': a point is X,Y"),
    ],
)
def test_points_that_cannot_be_are_named(edit, photo, points, message):
    assert message in edit("drag", photo, *points, "--prompt", "noise", code=1)


def test_what_is_there_is_not_overwritten(tmp_path, edit, photo):
    (tmp_path / "out.png").write_bytes(b"mine")
    said = edit("prompt", photo, "--from", "a", "--to", "b", code=1)
    assert "is there already" in said
    assert (tmp_path / "out.png").read_bytes() == b"mine"
    edit("prompt", photo, "--from", "a", "--to", "b", "--force")
    assert read_rgb(tmp_path / "out.png").size == (64, 64)


def test_a_mask_of_another_size_is_refused(tmp_path, edit, photo):
    Image.new("L", (10, 10)).save(tmp_path / "mask.png")
    mask = ["--mask", str(tmp_path / "mask.png")]
    said = edit("inpaint", photo, *mask, "--prompt", "a", code=1)
    assert "the mask is 10x10" in said


@pytest.mark.parametrize(
    "text", ["", "a, b", 'say "x"', "{target}", "back\\slash", 'end\\"', "a=b"]
)
def test_any_text_survives_as_an_override(text):
    assert parsed([override("data.caption", text)]) == {"data.caption": text}
