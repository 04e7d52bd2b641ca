"""What the viewer is told of runs and their examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sde_edit.config import data_set
from sde_edit.imaging.files import from_png, png_bytes, read_output
from sde_edit.report.leaderboard import list_run
from sde_edit.store.files import write_atomic
from sde_edit.web.report.collect import (
    examples_record,
    run_record,
    settings_labels,
    shown_runs,
    sizes_in,
)
from sde_edit.web.report.folder import Folder
from tests.builders import box_mask
from tests.edited import edited_runs


@pytest.fixture
def shown(tmp_path: Path) -> Any:
    """Makes shown runs of both samplers."""

    def make(*overrides: str) -> Any:
        runs = edited_runs(tmp_path / "results", *overrides)
        return shown_runs([list_run(run) for run in runs])

    return make


def opaque(mask: Path) -> NDArray[np.bool_]:
    """Where the picture of a mask covers what is below it."""
    return np.asarray(from_png(mask.read_bytes(), name="mask"))[..., 3] > 0


def test_run_has_its_files_and_its_values_in_the_order_of_its_ids(shown, tmp_path):
    run = shown("task=inpaint", "data.n=3")[0]
    record = run_record(run, {}, Folder(tmp_path))
    assert record["ids"] == ["test-000000", "test-000001", "test-000002"]
    assert record["files"] == [f"{i}.png" for i in record["ids"]]
    assert record["folder"] == f"../runs/{run.run.path.name}/outputs/"
    assert record["thumbnails"] == [None] * 3  # they are light
    assert record["masks"] == [None] * 3
    assert record["metrics"]["psnr"]["values"] == [20.0, 21.0, 22.0]
    assert record["metrics"]["psnr"]["higher"] is True
    assert "shapes_fid" not in record["metrics"]  # it has no values of single images


def test_runs_are_labelled_by_the_settings_in_which_they_differ(shown):
    labels = settings_labels(shown("task=inpaint", "data.n=2"))
    assert list(labels.values()) == ["sampler ode", "sampler sde"]


def test_examples_to_fill_have_a_mask_and_no_truth_beside_the_source(shown, tmp_path):
    runs = shown("task=inpaint", "data.n=2")
    example = examples_record(runs, (), Folder(tmp_path))["examples"][0]
    loaded = data_set(["data.n=2"])[1].load(example["id"])
    assert example["size"] == [64, 64]
    assert example["caption"] == loaded.caption
    assert "truth" not in example
    assert np.array_equal(read_output(tmp_path / example["source"][0]), loaded.image)
    assert np.array_equal(opaque(tmp_path / example["mask"]["path"]), loaded.mask > 0)
    assert example["mask"]["hidden"] == pytest.approx(loaded.mask.mean(), abs=1e-4)


def test_examples_to_drag_have_points_and_a_truth(shown, tmp_path):
    runs = shown("task=drag", "data=shapes-drags", "data.n=2")
    example = examples_record(runs, (), Folder(tmp_path))["examples"][0]
    loaded = data_set(["data=shapes-drags", "data.n=2"])[1].load(example["id"])
    assert example["drags"] == [[*drag.source, *drag.target] for drag in loaded.drags]
    assert np.array_equal(read_output(tmp_path / example["truth"][0]), loaded.truth)


def test_mask_that_a_task_found_is_shown_at_the_size_of_the_image(shown, tmp_path):
    runs = shown("task=diffedit", "data=shapes-edits", "data.n=1")
    run = runs[1].run
    write_atomic(run.mask_file("test-000000"), png_bytes(box_mask(16, 16, (0, 0, 4, 16))))
    sizes = sizes_in(examples_record(runs, (), Folder(tmp_path)))
    (mask,) = run_record(runs[1], sizes, Folder(tmp_path))["masks"]
    found = opaque(tmp_path / mask["path"])
    assert found.shape == (64, 64)
    assert found[:, :16].all()
    assert not found[:, 16:].any()
    assert mask["hidden"] == 0.25
    assert run_record(runs[0], sizes, Folder(tmp_path))["masks"] == [None]
    assert run_record(runs[1], {}, Folder(tmp_path))["masks"] == [None]


def test_runs_on_parts_of_a_data_set_share_its_examples(shown, tmp_path):
    few, more = shown("task=inpaint", "data.n=2"), shown("task=inpaint", "data.n=4", "steps=9")
    record = examples_record([*few, *more], (), Folder(tmp_path))
    assert [len(run.records) for run in (*few, *more)] == [2, 2, 4, 4]
    assert all("source" in example for example in record["examples"])
    assert len(record["examples"]) == 4


def test_data_set_that_is_another_one_by_now_gives_ids_alone(shown, tmp_path, caplog):
    runs = shown("task=inpaint", "data.n=2")
    record = examples_record(runs, ["data.masks=large"], Folder(tmp_path))
    assert record["here"] is False
    assert record["examples"] == [{"id": "test-000000"}, {"id": "test-000001"}]
    assert "are not those that run" in caplog.text
    assert not (tmp_path / "pictures").exists()


def test_data_set_that_is_not_on_this_machine_is_named(shown, tmp_path, caplog):
    runs = shown("task=inpaint", "data.n=2")
    gone = ["data=folder", f"data.images={tmp_path / 'gone'}"]
    assert examples_record(runs, gone, Folder(tmp_path))["here"] is False
    assert "the report shows outputs alone for data=shapes" in caplog.text
