"""`sde-edit edit`: what is refused, how results are named, what is said, what fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from sde_edit.cli import main
from sde_edit.commands import edit
from sde_edit.config import compose_config
from sde_edit.errors import UserError
from sde_edit.imaging.files import read_rgb

pytestmark = pytest.mark.usefixtures("own_cache")
MIXTURE = ("model=gmm", "task=reconstruct", "task.prompt=''", "data.resolution=8", "steps=2")


@pytest.fixture
def photo(tmp_path: Path) -> str:
    """A picture of 12x8."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def invoke(photo: str, *overrides: str, verb: str = "prompt") -> Result:
    """Edit a photo with the Gaussian mixture, which knows pictures of 8x8 alone."""
    folder = Path(photo).parent
    texts = ["--from", "a", "--to", "b", "--out", str(folder / "out.png")]
    cache = f"paths.cache={folder / 'cache'}"
    return CliRunner().invoke(main, ["edit", verb, photo, *texts, *MIXTURE, cache, *overrides])


def written(photo: str) -> list[str]:
    return sorted(file.name for file in Path(photo).parent.glob("out*"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data=places", "data=places: edit works on the photo"),
        ("data.hole=black", "data.hole=black: an option says this"),
        ("data.target=x,y", "data.target=x,y: an option says this"),
        ("paths.results=x", "paths.results=x: edit keeps no run"),
        ("metrics=psnr", "metrics=psnr: edit scores nothing"),
        ("shards=2", "shards=2: a photo has no shards"),
        ("launcher=slurm", "launcher=slurm: edit works in this process"),
        ("launcher.workers=2", "launcher.workers=2: edit works in this process"),
        ("data.fit=keep,crop", "data.fit: one value, please"),
        ("sampler=ode,ode", "out-ode.png: give each value once"),
        ("task.negative_prompt='a b',a_b", "out-a_b.png: give each value once"),
        ("task.negative_prompt=sheet,rain", "out-sheet.png: give each value once"),
    ],
)
def test_what_would_have_no_effect_is_refused(photo: str, override: str, message: str) -> None:
    outcome = invoke(photo, override)
    assert outcome.exit_code == 1
    assert message in outcome.output
    assert not written(photo)


def test_swept_values_name_the_results(photo: str) -> None:
    outcome = invoke(photo, "sampler=ode,bdia", "steps=2", "seed=0,1")
    assert outcome.exit_code == 0, outcome.output
    names = [f"out-{sampler}-{seed}.png" for sampler in ("ode", "bdia") for seed in (0, 1)]
    printed = [Path(line).name for line in outcome.output.splitlines() if line.endswith(".png")]
    assert printed == [*names, "out-sheet.png"]
    assert written(photo) == sorted(printed)


def test_results_that_share_their_encoding_have_their_own_files(photo: str) -> None:
    values = ("task=roundtrip", "task.t_0=0.5,1", "sampler=ode,bdia", "task.source_prompt=''")
    together = invoke(photo, *values)
    assert together.exit_code == 0, together.output
    swept = read_rgb(Path(photo).with_name("out-0.5-bdia.png"))
    alone = [values[0], "task.t_0=0.5", "sampler=bdia", values[3], "--force"]
    assert invoke(photo, *alone).exit_code == 0
    assert swept.tobytes() == read_rgb(Path(photo).with_name("out.png")).tobytes()


def test_a_model_of_one_size_takes_the_square(photo: str, caplog: pytest.LogCaptureFixture) -> None:
    outcome = invoke(photo)
    assert outcome.exit_code == 0, outcome.output
    assert "photo.png is 12x8; its central square alone is edited and written" in caplog.text
    assert "works at" not in caplog.text
    assert read_rgb(Path(photo).with_name("out.png")).size == (8, 8)


def test_a_transparent_photo_becomes_opaque(photo: str, caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:, 3] = 255
    Image.fromarray(pixels).save(photo)
    assert invoke(photo).exit_code == 0
    assert "photo.png has transparent pixels: they become white, and stay opaque" in caplog.text
    with Image.open(Path(photo).with_name("out.png")) as result:
        assert result.mode == "RGB"


def test_an_opaque_alpha_channel_is_no_news(photo: str, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGBA", (8, 8)).convert("RGB").convert("RGBA").save(photo)
    assert invoke(photo).exit_code == 0
    assert not caplog.text


def test_if_one_result_fails_the_others_are_written(
    photo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sde_edit.commands import run

    once = run.run_together

    def fails(group: Any, *more: Any) -> Any:
        if group[0].spec.seed == 1:
            raise UserError("seed 1 is unlucky")
        return once(group, *more)

    monkeypatch.setattr(run, "run_together", fails)
    outcome = invoke(photo, "seed=0,1,2")
    assert outcome.exit_code == 1
    assert "seed 1 is unlucky" in outcome.output
    assert written(photo) == ["out-0.png", "out-2.png", "out-sheet.png"]
    assert all(str(Path(photo).with_name(name)) in outcome.output for name in written(photo))


def test_an_interrupted_edit_says_that_nothing_is_written(
    photo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(edit, "run_all", interrupted)
    outcome = invoke(photo)
    assert "interrupted; no result is written" in outcome.output
    assert not written(photo)


@pytest.mark.parametrize("verb", ["inpaint", "prompt", "drag"])
def test_help_says_the_defaults(verb: str) -> None:
    said = " ".join(CliRunner().invoke(main, ["edit", verb, "--help"]).output.split())
    tasks = {"inpaint": "inpaint", "prompt": "diffedit", "drag": "drag"}
    config = compose_config([f"task={tasks[verb]}", "model=sd15"])
    names = [f"{group}={config[group]['name']}" for group in ("task", "model", "sampler")]
    assert " ".join([*names, f"steps={config['steps']}", f"seed={config['seed']}"]) in said
    assert "[default: white]" in said
    assert all(option in said for option in ("--hole", "--force", "--out", "--mask"))


def test_a_hole_without_a_mask_is_refused(photo: str) -> None:
    outcome = invoke(photo, "--hole", "black")
    assert outcome.exit_code == 1
    assert "there is no --mask" in outcome.output


@pytest.mark.parametrize("out", ["", ".", "folder.png"])
def test_an_out_that_is_no_file_is_refused(photo: str, out: str) -> None:
    Path(photo).with_name("folder.png").mkdir()
    where = str(Path(photo).with_name(out)) if out == "folder.png" else out
    command = ["edit", "prompt", photo, "--from", "a", "--to", "b", "--out", where, *MIXTURE]
    outcome = CliRunner().invoke(main, command)
    assert "must end in .png" in outcome.output or "is a directory" in outcome.output
    assert outcome.exit_code in (1, 2)


def test_the_photo_itself_is_not_replaced(photo: str) -> None:
    content = Path(photo).read_bytes()
    command = ["edit", "prompt", photo, "--from", "a", "--to", "b", "--out", photo, "--force"]
    outcome = CliRunner().invoke(main, [*command, *MIXTURE])
    assert outcome.exit_code == 1
    assert "choose another --out" in outcome.output
    assert Path(photo).read_bytes() == content


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_option_without_words_is_named(photo: str, text: str) -> None:
    out = str(Path(photo).with_name("out.png"))
    command = ["edit", "prompt", photo, "--from", "a", "--to", text, "--out", out, *MIXTURE]
    outcome = CliRunner().invoke(main, command)
    assert outcome.exit_code == 1
    assert "--to: is empty" in outcome.output


def test_a_drag_to_where_it_is_is_refused(photo: str) -> None:
    out = str(Path(photo).with_name("out.png"))
    points = ["--from", "3,3", "--to", "3,3", "--prompt", "a"]
    outcome = CliRunner().invoke(main, ["edit", "drag", photo, *points, "--out", out, *MIXTURE])
    assert outcome.exit_code == 1
    assert "nothing is to move" in outcome.output


def test_a_model_without_a_resolution_asks_for_it(photo: str) -> None:
    out = str(Path(photo).with_name("out.png"))
    command = ["edit", "prompt", photo, "--from", "a", "--to", "b", "--out", out, "model=gmm"]
    outcome = CliRunner().invoke(main, command)
    assert "data.resolution=${model.resolution} is not known with these choices; give " in (
        outcome.output
    )
