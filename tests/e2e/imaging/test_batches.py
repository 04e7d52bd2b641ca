"""Runs over pictures of several sizes: each comes back in its own."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sde_edit.cli import main
from sde_edit.commands import check
from sde_edit.store.runs import RunStore
from tests.builders import box_mask, picture

QUICK = ("steps=2", "hardware.threads=1", "hardware.batch_size=2", "dtype=float32")
SIZES = {"a": (64, 35), "b": (64, 96), "c": (64, 35), "d": (64, 64), "e": (64, 35), "f": (64, 96)}


@pytest.fixture(autouse=True)
def _own_cache(own_cache):
    """Digests are remembered in the folder of the test."""


@pytest.fixture
def call(tiny_model, tmp_path):
    """The command line on the tiny model, whose latents have cells of 8 pixels."""

    def called(verb, *overrides, results="results", code=0):
        where = [f"model.path={tiny_model}", f"paths.results={tmp_path / results}"]
        outcome = CliRunner().invoke(main, [*verb.split(), *overrides, *QUICK, *where])
        assert outcome.exit_code == code, outcome.output
        return outcome.output

    return called


@pytest.fixture
def drags(tmp_path):
    """DragDiffusion's set with six pictures of three sizes, as overrides. What is dragged lies at
    the lower edge, which no cell ends at, and may change there."""
    for seed, (name, (width, height)) in enumerate(SIZES.items()):
        folder = tmp_path / "drags" / "things" / name
        folder.mkdir(parents=True)
        picture(width, height, seed).save(folder / "original_image.png")
        box_mask(width, height, (0, height - 20, width, height)).save(folder / "mask.png")
        points = [[10, height - 2], [30, height - 9], [63, height - 1], [50, height - 1]]
        told = {"prompt": "", "points": points}
        (folder / "drag_instruction.json").write_text(json.dumps(told))
    root = f"data.root={tmp_path / 'drags'}"
    return ["data=dragbench-205", root, "task.prompt=a thing", "task.lora_steps=1"]


def outputs(results):
    """Of all runs: seals by run, scores by run and file, sizes of outputs by run and example."""
    runs = {run.path.name: run for run in RunStore(results).runs()}
    seals = {name: run.seal for name, run in runs.items()}
    scores = {
        (name, file.name): json.loads(file.read_text()) | {"seconds": 0}
        for name, run in runs.items()
        for file in run.path.glob("metrics/*.json")
    }
    sizes = {}
    for name, run in runs.items():
        for row in run.rows().values():
            with Image.open(run.output(row)) as image:
                sizes[name, row.id] = image.size
    return seals, scores, sizes


def test_shards_and_a_resumed_run_give_the_bits_of_an_undisturbed_one(
    call, drags, tmp_path, caplog
):
    given = [*drags, "task=drag", "sampler=ode,sde", "task.m=1", "metrics=[psnr,ssim]"]
    call("run", *given, results="undisturbed")
    assert "; 4 batches, images of 64x35 to 64x96 in 3 sizes" in caplog.text
    seals, scores, sizes = expected = outputs(tmp_path / "undisturbed")
    assert len(seals) == 2
    assert len(scores) == 4
    assert set(sizes.values()) == set(SIZES.values())
    assert all(size == SIZES[name[-1]] for (_, name), size in sizes.items())

    call("run", *given, "shards=2", "shard=1", results="broken")
    for run in RunStore(tmp_path / "broken").runs():
        assert 0 < len(run.rows()) < len(SIZES)
        run.output(next(iter(run.rows().values()))).unlink()
    for shard in (0, 1):
        call("run", *given, "shards=2", f"shard={shard}", results="broken")
    assert outputs(tmp_path / "broken") == expected


def test_a_plan_tells_how_many_batches_of_how_many_sizes(call, drags):
    given = [*drags, "task=drag", "sampler=ode", "metrics=[psnr]"]
    shapes = "dragbench-205: 4 batches, images of 64x35 to 64x96 in 3 sizes"
    plan = call("sweep --dry-run", *given)
    assert shapes in plan
    pixels = sum(width * height for width, height in SIZES.values())
    assert f"{3 * pixels / 2**20:.1f} MiB of disk" in plan
    checked = call("check", *given)
    assert shapes in checked
    assert "from 2 examples of each run, the largest" in " ".join(checked.split())
    status = CliRunner().invoke(main, ["data", "status", *drags[:2]]).output
    assert "6 examples\n" in status
    assert status.endswith("  images of 64x35 to 64x96 in 3 sizes\n")


def test_dragdiffusion_and_its_distance_take_pictures_at_their_own_sizes(call, drags, tmp_path):
    kept = [*drags, "task=drag_diffusion", "sampler=ode", "task.drag_steps=1"]
    call("run", *kept, "data.limit=3", "metrics=[shapes_drag_distance]")
    _, scores, sizes = outputs(tmp_path / "results")
    assert all(size == SIZES[name[-1]] for (_, name), size in sizes.items())
    (score,) = scores.values()
    assert len(score["per_example"]) == 3


def test_outputs_made_elsewhere_are_scored_at_their_own_sizes(call, drags, tmp_path):
    given = [*drags[:2], "task=drag", "task.prompt=a thing", "task.lora_steps=0", "task.m=1"]
    call("run", *given, "sampler=ode", "metrics=[psnr]")
    (run,) = RunStore(tmp_path / "results").runs()
    made = shutil.copytree(run.path / "outputs", tmp_path / "made")
    (made / run.rows()["things/c"].file).unlink()
    elsewhere = ["sampler=external", f"sampler.outputs={made}", "sampler.partial=true"]
    call("run", *given, *elsewhere, "metrics=[psnr]", results="theirs")
    (own,), (theirs,) = (outputs(tmp_path / name)[1].values() for name in ("results", "theirs"))
    del own["per_example"]["things/c"]
    assert theirs["per_example"] == own["per_example"]

    Image.new("RGB", (64, 32)).save(made / run.rows()["things/a"].file)
    wrong = call("run", *given, *elsewhere, "metrics=[psnr]", results="wrong", code=1)
    assert "is 64x32, but example 'things/a' is 64x35" in wrong
    assert "data.resolution and data.fit: null and keep leave files their sizes" in wrong


@pytest.fixture
def folder(tmp_path):
    """Pictures of 96x60 and of 60x96 with masks, as overrides of data=folder."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for seed, (width, height) in enumerate(((96, 60), (60, 96), (96, 60))):
        picture(width, height, seed).save(tmp_path / "images" / f"{seed}.png")
        box = (width - 24, height - 24, width, height)
        box_mask(width, height, box).save(tmp_path / "masks" / f"{seed}.png")
    where = [f"data.images={tmp_path / 'images'}", f"data.mask_root={tmp_path / 'masks'}"]
    return ["data=folder", *where, "data.hole=white", "data.resolution=64"]


@pytest.mark.parametrize(
    ("fit", "sizes"),
    [
        (["data.fit=pad"], {(64, 64)}),
        (["data.fit=keep"], {(102, 64), (64, 102)}),
        (["data.fit=keep", "data.side=long"], {(64, 40), (40, 64)}),
    ],
)
def test_inpainting_leaves_what_is_known_whatever_the_fit(call, folder, fit, sizes, tmp_path):
    pasted = ["task=inpaint", "task.composite_known=true", "task.prompt=x", "metrics=[known_error]"]
    call("run", *folder, *fit, *pasted, "sampler=sde")
    _, scores, found = outputs(tmp_path / "results")
    assert set(found.values()) == sizes
    (score,) = scores.values()
    assert score["value"] == 0  # pixel by pixel, as the border is cut off again
    (run,) = RunStore(tmp_path / "results").runs()
    with Image.open(run.path / "contact.png") as sheet:
        beside = (np.asarray(sheet) == 228).all(axis=-1).mean()
    assert (beside > 0.1) == (len(sizes) > 1)  # letterboxed, if the sizes differ


def test_sampling_takes_the_sizes_of_the_examples(call, coco, tmp_path):
    call("run", "task=sample", "sampler=ode", "data=coco", *coco, "data.fit=keep", "metrics=[]",
         "data.n=2", "task.prompt=x")  # fmt: skip
    sizes = outputs(tmp_path / "results")[2]
    assert set(sizes.values()) == {(85, 64)}


def test_diffedit_finds_masks_of_pictures_that_end_within_a_cell(call, coco, tmp_path):
    edit = ["task=diffedit", "task.source_prompt=a", "task.prompt=b", "sampler=ode"]
    data = ["data=coco-bison", *coco, "data.split=val2017", "data.fit=keep"]
    call("run", *edit, *data, "metrics=[source_ssim]")
    _, scores, sizes = outputs(tmp_path / "results")
    assert set(sizes.values()) == {(85, 64)}
    (run,) = RunStore(tmp_path / "results").runs()
    with Image.open(next((run.path / "masks").iterdir())) as mask:
        assert mask.size == (11, 8)  # of 88x64 pixels
    assert len(scores) == 1


def test_the_memory_told_is_that_of_the_batch_with_the_most_pixels(call, folder, monkeypatch):
    """The trial makes two pictures of two sizes, one after the other; a run makes two at once."""
    monkeypatch.setattr(check, "_load", lambda *_: 2**30)
    monkeypatch.setattr(check, "peak_memory", lambda _: (3 * 2**30, "its memory"))
    inpaint = ["task=inpaint", "task.prompt=x", "sampler=sde", "metrics=[psnr]"]
    told = call("check", *folder, "data.fit=keep", *inpaint)
    assert "5.00 GiB of memory (its memory, extrapolated from batches of 1 to 2)" in " ".join(
        told.split()
    )
