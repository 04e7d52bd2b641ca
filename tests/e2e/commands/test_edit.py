"""`sde-edit edit`: one picture, on a small random pipeline."""

from pathlib import Path

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


def pixels(file):
    return np.asarray(read_rgb(Path(file)))


INPAINT = ("inpaint", "--prompt", "a lake")
PROMPT = ("prompt", "--from", 'a "cat", sitting', "--to", "a {dog}")
DRAG = ("drag", "--from", "20,30", "--to", "30,30", "--prompt", "noise", "task.lora_steps=1")


@pytest.mark.parametrize(
    "arguments",
    [
        INPAINT,
        PROMPT,
        (*PROMPT, "task=p2p", "sampler=ode"),
        DRAG,
        (*DRAG, "task=drag_diffusion", "sampler=ode", "task.drag_steps=1"),
        (*DRAG[:-1], "task=region_drag"),
    ],
)
def test_outside_the_mask_every_bit_is_the_photos(tmp_path, edit, photo, arguments):
    edit(arguments[0], photo, "--mask", str(tmp_path / "mask.png"), *arguments[1:])
    before, after = pixels(photo), pixels(tmp_path / "out.png")
    np.testing.assert_array_equal(after[:, 48:], before[:, 48:])
    assert (after[:, :48] != before[:, :48]).mean() > 0.5


@pytest.mark.parametrize("arguments", [PROMPT, DRAG])
def test_without_a_mask_the_whole_photo_is_edited(tmp_path, edit, photo, arguments, caplog):
    edit(arguments[0], photo, *arguments[1:])
    assert pixels(tmp_path / "out.png").shape == (72, 96, 3)
    notice = "photo.jpg is 96x72; model=sd15 works at 85x64, and the result is enlarged"
    assert caplog.messages == [notice]


def test_at_its_own_size_a_photo_gets_the_pixels_of_the_network(tmp_path, edit, photo, caplog):
    """100x64 is extended to 104x64 for the network, and nothing is resized."""
    Image.open(photo).resize((100, 64)).save(photo)
    edit(PROMPT[0], photo, *PROMPT[1:])
    assert pixels(tmp_path / "out.png").shape == (64, 100, 3)
    assert not caplog.messages


def test_a_long_photo_is_edited_at_twice_the_models_side(tmp_path, edit, photo, caplog):
    Image.open(photo).resize((300, 90)).save(photo)
    edit(PROMPT[0], photo, *PROMPT[1:])
    assert pixels(tmp_path / "out.png").shape == (90, 300, 3)
    assert "model=sd15 works at 128x38, and the result is enlarged" in caplog.text


def test_several_results_share_a_sheet(tmp_path, edit, photo):
    """The sheet has the photo, the photo under its mask and two results, all 96 pixels wide."""
    arguments = [photo, "--mask", str(tmp_path / "mask.png"), "sampler=ode,sde"]
    said = edit(INPAINT[0], *arguments, *INPAINT[1:])
    names = ["out-ode.png", "out-sde.png", "out-sheet.png"]
    assert [line for line in said.split() if line.endswith("png")][-3:] == [
        str(tmp_path / name) for name in names
    ]
    ode, sde = (pixels(tmp_path / name) for name in names[:2])
    assert (ode != sde).any()
    sheet = pixels(tmp_path / "out-sheet.png")
    assert sheet.shape[1] == 12 + 4 * (2 * 96 + 12)


def test_the_polarity_of_a_mask_is_said_unless_it_is_given(tmp_path, edit, photo):
    mask = ["--mask", str(tmp_path / "mask.png")]
    notice = "mask.png: white is what may change; --hole black for the other way round"
    assert notice in edit(INPAINT[0], photo, *mask, *INPAINT[1:])
    said = edit(INPAINT[0], photo, *mask, *INPAINT[1:], "--hole", "black", "--force")
    assert "white" not in said
    before, after = pixels(photo), pixels(tmp_path / "out.png")
    np.testing.assert_array_equal(after[:, :48], before[:, :48])


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
        (["--from", "2,30", "--to", "96,30"], "the point 96,30 is outside"),
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
    assert read_rgb(tmp_path / "out.png").size == (96, 72)


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
