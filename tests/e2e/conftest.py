"""A small table, made for the tests that get in its way, and small data."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sde_edit.cli import main
from sde_edit.store.runs import RunStore
from tests.builders import wait_until, without_workers

# Two runs of six batches each, and metrics that merge over images.
GRID = (
    *("steps=12", "data.masks=small", "data.limit=12"),
    *("hardware.batch_size=2", "hardware.threads=1", "metrics=[psnr,shapes_fid]"),
)


class Sweeps(NamedTuple):
    """Starts, watches and reads sweeps of the table."""

    model: Path
    all_images: int = 24

    def arguments(self, results, *overrides, verb="sweep"):
        """Of `sde-edit sweep table=table2`, or of `sde-edit run` with the same runs."""
        where = [f"model.path={self.model}", f"paths.results={results}"]
        where.append(
            "model.guidance.inpaint=7.5"
        )  # the paper's, so that Table 2 has one pair of arms
        table = ["table=table2"] if verb == "sweep" else ["sampler=ode,sde"]
        return [verb, *table, *GRID, *where, *overrides]

    def start(self, results, *overrides):
        """A sweep in a process of its own, which starts workers."""
        command = [sys.executable, "-m", "sde_edit", *self.arguments(results, *overrides)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, **pipes)

    def finish(self, process, code=0):
        """What a process says till its end."""
        output = process.communicate(timeout=300)[0]
        assert process.returncode == code, output
        return output

    def run(self, results, *overrides, verb="sweep", code=0):
        """What it says, done in this process without workers."""
        with without_workers():
            outcome = CliRunner().invoke(main, self.arguments(results, *overrides, verb=verb))
        assert outcome.exit_code == code, outcome.output
        return outcome.output

    def images(self, results):
        return len(list(results.glob("runs/*/outputs/*.png")))

    def wait_for_images(self, results, n, process):
        wait_until(lambda: self.images(results) >= n or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]

    def outcome(self, results):
        """Seals by run, and the bytes of every file of the table."""
        seals = {run.path.name: run.seal for run in RunStore(results).runs()}
        files = {file.name: file.read_bytes() for file in sorted((results / "tables").iterdir())}
        return seals, files


@pytest.fixture(scope="session")
def sweeps(tiny_model):
    return Sweeps(tiny_model)


@pytest.fixture(scope="session")
def undisturbed(sweeps, tmp_path_factory):
    """What comes of a sweep that nobody disturbs."""
    results = tmp_path_factory.mktemp("undisturbed")
    sweeps.run(results)
    seals, files = sweeps.outcome(results)
    assert len(seals) == 2
    assert all(seal.n == 12 for seal in seals.values())
    assert {Path(name).suffix for name in files} == {".md", ".csv", ".tex", ".json"}
    return seals, files


@pytest.fixture
def coco(tmp_path):
    """Four val2017 images with captions, as the official files lay them out."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "val2017").mkdir()
    images, captions = [], []
    for i in range(1, 5):
        file = f"{i:012d}.jpg"
        noise = np.random.default_rng(i).integers(0, 255, (9, 12, 3), np.uint8)
        Image.fromarray(noise).resize((96, 72)).save(root / "val2017" / file)
        images.append({"id": i, "file_name": file, "height": 72, "width": 96})
        captions.append({"id": 10 + i, "image_id": i, "caption": f"Picture {i}."})
    content = {"images": images, "annotations": captions}
    (root / "annotations" / "captions_val2017.json").write_text(json.dumps(content))
    bison = [
        {
            "bison_id": k, "caption_id": 10 + true, "caption": f"Picture {true}.",
            "true_image_id": true,
            "image_candidates": [{"image_id": i, "image_filename": ""} for i in (other, true)],
        }
        for k, (other, true) in enumerate(((1, 2), (3, 4)))
    ]  # fmt: skip
    (root / "annotations" / "bison_annotations.cocoval2014.json").write_text(
        json.dumps({"data": bison})
    )
    return [f"data.root={root}", "data.resolution=64", "model.resolution=64"]


@pytest.fixture
def imagenet(tmp_path):
    """Three lions and two tigers, one of them grey, in folders of classes."""
    root = tmp_path / "imagenet"
    for wnid, modes in (("n02129165", ["RGB"] * 3), ("n02129604", ["RGB", "L"])):
        (root / "train" / wnid).mkdir(parents=True)
        for i, mode in enumerate(modes):
            noise = np.random.default_rng(i).integers(0, 255, (20, 24, 3), np.uint8)
            file = root / "train" / wnid / f"{wnid}_{i}.JPEG"
            Image.fromarray(noise).convert(mode).save(file)
    return [f"data.root={root}", "data.resolution=16", "model.resolution=16"]
