"""The contact sheets of a table's config: arms or settings across, and where an arm is worst."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from sde_edit.api.example import Drag
from sde_edit.api.metric import Score
from sde_edit.api.spec import ComponentSpec, RunSpec
from sde_edit.commands.contact_sheets import (
    Failures,
    Sheet,
    rendered_sheets,
    sheet_settings,
    worst,
)
from sde_edit.datasets.shapes_drags import ShapesDrags
from sde_edit.errors import UserError
from sde_edit.report.contact_sheet import contact_sheet
from sde_edit.report.table import Block, Cell, Column, Row, Table
from sde_edit.store.files import write_atomic, write_together
from sde_edit.store.runs import RunStore
from tests.builders import add_images, add_score, grey, png

IDS = [f"test-{i:06d}" for i in range(4)]
GREYS = {"SDE": {"1": 40, "2": 80}, "ODE": {"1": 120, "2": 160}}
SCENES = ("task=drag", "data=shapes-drags")


def made(store, sampler, r, *, overrides=SCENES, ids=IDS, scores=None, side=64):
    """A sealed run whose images all have one grey; scores: metric -> id -> value."""
    task, arm, other = (
        ComponentSpec("drag", "drag", 1, {"r": r}),
        ComponentSpec(sampler, "x", 1),
        ComponentSpec("", "", 1),
    )
    run = store.open(RunSpec(task, arm, other, other, 5, "linspace", "zero", "float32", 0))
    image = png(grey(GREYS[sampler][r], side))
    add_images(run, ids, image=image)
    attempt = {"overrides": [*overrides, f"sampler={sampler.lower()}"], "images": 0}
    write_atomic(run.path / "attempts" / "a.json", json.dumps(attempt).encode())
    for metric, values in (scores or {}).items():
        mean = sum(values.values()) / len(values)
        add_score(run, metric, mean, per_example=values)
    return run


def table(runs):
    """r across, a line per sampler, of the runs by (sampler, r); the others are missing."""
    rows = [
        Row(
            s,
            "arm",
            tuple(Cell(1.0, runs=(runs[s, r].id,)) if (s, r) in runs else Cell() for r in "12"),
        )
        for s in ("SDE", "ODE")
    ]
    return Table("t", "T", "r", (Column("", "1"), Column("", "2")), (Block("psnr", tuple(rows)),))


def written(config, runs, tmp_path):
    """File name -> picture."""
    files = rendered_sheets("t", {"name": "t"} | config, table(runs), [*runs.values()], tmp_path)
    write_together(files)
    found = list(files)
    assert [p.suffix for p in found] == [".png", ".svg"] * (len(found) // 2)
    pngs = {path.name: path.read_bytes() for path in found if path.suffix == ".png"}
    return {name: Image.open(io.BytesIO(data)) for name, data in pngs.items()}


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path)


@pytest.fixture
def runs(store):
    return {(s, r): made(store, s, r) for s in GREYS for r in GREYS[s]}


def scenes(ids):
    """The columns original and truth, and the other arguments of a sheet of these examples."""
    examples = [ShapesDrags(n=4, split="test").load(i) for i in ids]
    columns = {"original": [e.image for e in examples], "truth": [e.truth for e in examples]}
    return columns, [e.drags for e in examples], [f"{e.id}  {e.caption}" for e in examples]


def test_settings_of_one_arm_go_across(runs, tmp_path):
    columns, drags, captions = scenes(IDS[:2])
    columns |= {f"r = {r}": [grey(GREYS["SDE"][r])] * 2 for r in "12"}
    expected = contact_sheet(columns, captions=captions, drags=drags, title="SDE")
    (sheet,) = written({"sheet": {"rows": 2, "arm": "SDE"}}, runs, tmp_path).values()
    assert sheet.tobytes() == expected.tobytes()


def test_without_an_arm_the_arms_go_across_and_each_setting_has_its_part(runs, tmp_path):
    columns, drags, captions = scenes(IDS[:1])
    parts = [
        contact_sheet(
            columns | {s: [grey(GREYS[s][r])] for s in ("SDE", "ODE")},
            captions=captions,
            drags=drags,
            title=f"r = {r}",
        )
        for r in "12"
    ]
    (sheet,) = written({"sheet": 1}, runs, tmp_path).values()
    assert sheet.tobytes() == b"".join(part.tobytes() for part in parts)


def test_what_is_missing_is_left_out(runs, tmp_path):
    fewer = {key: run for key, run in runs.items() if key == ("ODE", "2")}
    full = written({"sheet": {"rows": 1, "arm": "ODE"}}, runs, tmp_path)["t.png"]
    assert (
        written({"sheet": {"rows": 1, "arm": "ODE"}}, fewer, tmp_path)["t.png"].width < full.width
    )
    wanted = {"sheet": {"rows": 1, "arm": "SDE"}, "failures": {"arm": "SDE", "metric": "psnr"}}
    assert written(wanted, fewer, tmp_path) == {}


# ------------------------------------------------------------------ failures

PSNR = dict(zip(IDS, (20.0, 18.5, 25.0, 18.5), strict=True))


def score_of(values, *, higher):
    return Score("m", "m", 1, {}, "c", higher, "s", 0.0, 0.0, 0.0, 1, [0.0], values)


def test_the_worst_come_first_and_equal_ones_by_id():
    values = dict(reversed(PSNR.items()))
    assert worst(score_of(values, higher=True), set(IDS), 3) == [IDS[1], IDS[3], IDS[0]]
    assert worst(score_of(values, higher=False), set(IDS), 2) == [IDS[2], IDS[0]]
    assert worst(score_of(values, higher=True), set(IDS[2:]), 1) == [IDS[3]]


def test_a_row_of_failures_has_every_arm_and_its_score(store, tmp_path):
    """Among the examples that all arms have, by the first metric that all have."""
    better = {i: value + 1 for i, value in PSNR.items() if i != IDS[1]}
    kept = dict.fromkeys(IDS, 0.5)
    runs = {
        ("SDE", "2"): made(store, "SDE", "2", scores={"psnr": PSNR, "kept_error": kept}),
        ("ODE", "2"): made(store, "ODE", "2", scores={"psnr": better}, ids=list(better)),
    }
    columns, drags, captions = scenes([IDS[3], IDS[0]])
    columns |= {s: [grey(GREYS[s]["2"])] * 2 for s in ("SDE", "ODE")}
    said = ["psnr: SDE 18.5, ODE 19.5", "psnr: SDE 20.0, ODE 21.0"]
    expected = contact_sheet(
        columns,
        captions=[f"{caption}.  {words}" for caption, words in zip(captions, said, strict=True)],
        drags=drags,
        title="r = 2, SDE at its worst by psnr",
    )
    asked = {"arm": "SDE", "metric": ["kept_error", "psnr"], "rows": 2}
    sheet = written({"failures": asked}, runs, tmp_path)["t-failures.png"]
    assert sheet.tobytes() == expected.tobytes()


def test_failures_by_a_metric_that_the_runs_lack_are_refused(runs, tmp_path):
    with pytest.raises(UserError, match="not all of SDE, ODE have psnr or ssim per example"):
        written({"failures": {"arm": "SDE", "metric": ["psnr", "ssim"]}}, runs, tmp_path)


# ------------------------------------------------------------------ what a config may say


def test_a_number_is_the_rows_of_a_sheet():
    assert sheet_settings({"name": "t", "sheet": 4}) == (Sheet(4), None)
    failures = {"arm": "SDE", "metric": "psnr"}
    asked = sheet_settings({"name": "t", "failures": failures})
    assert asked == (None, Failures("SDE", "psnr", rows=4))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"sheet": {"rows": 1, "arms": "SDE"}}, r"t: sheet: arms: .* Did you mean 'arm'"),
        ({"sheet": {"rows": 1, "arm": "SDEE"}}, "no arm is labelled 'SDEE'. Did you mean 'SDE'"),
        (
            {"sheet": 4, "figure": {"kind": "curves"}},
            "t: its figure and its sheet would be one file",
        ),
        ({"failures": {"arm": "SDE"}}, "t: failures: metric: must be given"),
        ({"failures": {"arm": "EDO", "metric": "psnr"}}, "no arm is labelled 'EDO'"),
    ],
)
def test_wrong_settings_are_refused(runs, tmp_path, config, said):
    with pytest.raises(UserError, match=said):
        written(config, runs, tmp_path)


# ------------------------------------------------------------------ data without a truth


def test_photographs_are_shown_with_all_their_arrows_and_no_truth(store, tmp_path):
    folder = tmp_path / "dragbench" / "0" / "bear"
    folder.mkdir(parents=True)
    photo = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    (folder / "origin_image.png").write_bytes(png(photo))
    said = {"prompt": "a bear", "source": [[4, 20], [20, 4]], "target": [[6, 10], [28, 4]]}
    (folder / "prompt.json").write_text(json.dumps(said))
    where = ("task=drag", "data=dragbench", f"data.root={tmp_path / 'dragbench'}")
    overrides = (*where, "data.resolution=32")
    distance = {"drag_distance": {"0/bear": 3.0}}
    runs = {
        (s, "1"): made(store, s, "1", overrides=overrides, ids=["0/bear"], scores=distance, side=32)
        for s in ("SDE", "ODE")
    }
    columns = {"original": [photo], **{s: [grey(GREYS[s]["1"], 32)] for s in ("SDE", "ODE")}}
    drags = [(Drag((4, 20), (6, 10)), Drag((20, 4), (28, 4)))]
    sheet = contact_sheet(columns, captions=["0/bear  a bear"], drags=drags, title="r = 1")
    asked = {"sheet": 4, "failures": {"arm": "SDE", "metric": ["psnr", "drag_distance"]}}
    found = written(asked, runs, tmp_path)
    assert found["t.png"].tobytes() == sheet.tobytes()
    assert found["t-failures.png"].width == sheet.width
