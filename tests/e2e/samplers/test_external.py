"""Images made elsewhere through the command line, beside a run of the embedded scenes' drags."""

import dataclasses
import shutil

import pytest
from click.testing import CliRunner
from PIL import Image

from sde_edit import places
from sde_edit.cli import main
from sde_edit.commands.table import build_table
from sde_edit.registry import conf_dir
from sde_edit.report.formats import markdown
from sde_edit.store.runs import RunStore

DATA = ("task=drag", "data=shapes-drags", "data.n=3")
QUICK = (*DATA, "metrics=[psnr]", "hardware.threads=1", "steps=2", "task.m=1", "task.lora_steps=0")
ARMS = {
    "name": "t",
    "kind": "arms",
    "title": "T",
    "runs": {"task": ["drag"], "steps": [2, 4], "task.guidance": [3.0]},
    "arms": [
        {"label": "ODE-Drag", "set": {"sampler": "ode"}},
        {"label": "DragGAN", "set": {"sampler": "draggan"}},
    ],
    "column": "steps",
    "baseline": "ODE-Drag",
    "costs": ["evaluations", "calls", "seconds"],
}


@pytest.fixture
def call(tiny_model, tmp_path, monkeypatch):
    """The command line with results and configs of its own; one config is of images that lie in
    `made`."""
    conf = shutil.copytree(conf_dir(), tmp_path / "conf")
    lines = ("name: draggan", "kind: external", f"outputs: {tmp_path / 'made'}", "partial: true")
    (conf / "sampler" / "draggan.yaml").write_text("\n".join(lines))
    place = dataclasses.replace(places.own(), conf=conf)
    monkeypatch.setattr(places, "own", lambda: place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def called(verb, *overrides, code=0):
        where = [f"paths.results={tmp_path / 'results'}"]
        where += [] if verb == "compare" else [*QUICK, f"model.path={tiny_model}"]
        outcome = CliRunner().invoke(main, [verb, *overrides, *where])
        assert outcome.exit_code == code, outcome.output
        return outcome.output

    return called


@pytest.fixture
def made(call, tmp_path):
    """The folder of a run's own outputs, one of three taken away; a store with that run."""
    call("run", "sampler=ode")
    (run,) = RunStore(tmp_path / "results").runs()
    shutil.copytree(run.path / "outputs", tmp_path / "made")
    (tmp_path / "made" / "test-000001.png").unlink()
    return tmp_path / "made"


def runs(tmp_path):
    return {run.spec.sampler.name: run for run in RunStore(tmp_path / "results").runs()}


def test_missing_images_stop_it_before_anything_is_written(call, made, tmp_path):
    said = call("run", "sampler=external", f"sampler.outputs={made}", code=1)
    assert "1 of the 3 examples have no image: test-000001" in said
    assert list(runs(tmp_path)) == ["ode"]


def test_a_wrong_size_stops_it_before_an_image_is_written(call, made, tmp_path):
    Image.new("RGB", (32, 32)).save(made / "test-000002.png")
    assert "is 32x32, but example" in call("run", "sampler=draggan", code=1)
    assert "draggan" not in runs(tmp_path)


def test_the_same_images_have_the_same_scores_and_no_network_is_asked(
    call, made, tmp_path, monkeypatch
):
    shutil.copy(next((tmp_path / "results/runs").glob("*/outputs/test-000001.png")), made)
    monkeypatch.setattr(
        "sde_edit.engine.execute.ModelCache.get", lambda *_: pytest.fail("model loaded")
    )
    call("run", "sampler=external", f"sampler.outputs={made}", "sampler.name=Tool")
    ode, tool = runs(tmp_path)["ode"], runs(tmp_path)["Tool"]
    assert ode.seal == tool.seal
    assert ode.scores()["psnr"].value == tool.scores()["psnr"].value
    assert (tool.path / "contact.png").is_file()
    assert {row.seconds for row in tool.rows().values()} == {None}
    files = sorted(tool.path.rglob("*"))
    call("run", "sampler=external", f"sampler.outputs={made}", "sampler.name=Tool")
    assert sorted(tool.path.rglob("*")) == files


def test_a_part_is_counted_everywhere(call, made, tmp_path):
    for shard in (0, 1):
        call("run", "sampler=draggan", "hardware.batch_size=1", "shards=2", f"shard={shard}")
    found = runs(tmp_path)
    assert (found["draggan"].seal.n, found["draggan"].seal.of) == (2, 3)

    summary = call("summary", "sampler=ode,draggan")
    lines = [[cell.strip() for cell in line.split("|")] for line in summary.splitlines()]
    cells = {(line[1], line[2]): line[3:-1] for line in lines if len(line) > 5}
    assert cells["seconds/image", "draggan"][:2] == ["—", "2 of 3"]
    assert cells["psnr ↑", "draggan"][1] == "2 of 3"
    assert cells["psnr ↑", "ode"][1] == "3 of 3"
    assert "paired over 2 examples, those that all of them have" in summary

    compared = call("compare", found["ode"].id, found["draggan"].id)
    assert "A holds 3 examples and B 2; the 2 that both have are compared" in compared
    assert "- sampler: A ode, B draggan" in compared
    assert "- steps" not in compared


def test_it_stands_in_every_column_of_a_table(call, made, tmp_path):
    call("run", "sampler=draggan", "steps=50")
    table = build_table(ARMS, RunStore(tmp_path / "results").runs())
    rows = {(b.title, r.label): r.cells for b in table.blocks for r in b.rows}
    values = [cell.value for cell in rows["psnr", "DragGAN"]]
    assert values[0] == values[1] is not None
    assert [(cell.n, cell.of) for cell in rows["psnr", "DragGAN"]] == [(2, 3)] * 2
    assert rows["psnr", "ODE-Drag"][0].n == 3
    assert rows["psnr", "ODE-Drag"][1].value is None
    for cost in ("seconds per image", "network evaluations per image"):
        assert [cell.value for cell in rows[cost, "DragGAN"]] == [None, None]
        assert rows[cost, "ODE-Drag"][0].value is not None
    text = markdown(table)
    assert "(n = 2 of 3)" in text
    assert "Images made elsewhere: draggan." in text
    chosen = ARMS | {"where": {"dtype": "float32"}}
    assert build_table(chosen, RunStore(tmp_path / "results").runs()).blocks == table.blocks


@pytest.mark.usefixtures("no_workers")
def test_a_sweep_brings_it_in(call, made, tmp_path):
    images = ["sampler=external", f"sampler.outputs={made}", "sampler.partial=true"]
    assert "2 images, 0 network evaluations" in call("sweep", "--dry-run", *images)
    call("sweep", *images)
    assert runs(tmp_path)["external"].scores()["psnr"].n == 2
    assert "no network to time" in call("bench", "sampler=draggan", code=1)
