"""Runs from Python: made, found, read."""

import builtins

import numpy as np
import pytest

import sde_edit as se
from sde_edit.datasets.shapes import Shapes
from tests.builders import no_plugins_left, plugin_folder
from tests.unit.python.conftest import GMM


def test_a_run_of_each_combination_in_order(pair):
    assert [run.spec.sampler.name for run in pair] == ["ode", "sde"]
    assert all(run.is_finished and len(run.ids) == 5 for run in pair)


def test_the_same_again_makes_nothing(pair, results):
    files = [file for run in pair for file in sorted(run.path.rglob("*")) if file.is_file()]
    before = [file.stat().st_mtime_ns for file in files]
    given = ("task=inpaint", "sampler=ode,sde", "steps=3", *GMM)
    assert se.run(*given, limit=5, results=results) == pair
    assert [file.stat().st_mtime_ns for file in files] == before


def test_scores_have_value_interval_and_n(pair):
    score = pair[0].scores["psnr"]
    low, high = score.interval
    assert low < score.value < high
    assert score.n == 5
    assert score.value == pytest.approx(np.mean(list(score.per_example.values())))


def test_images_and_examples_are_read_by_position_slice_and_id(pair):
    run = pair[0]
    assert [image.shape for image in run.images[1:3]] == [(64, 64, 3)] * 2
    assert run.images[0].dtype == np.uint8
    assert (run.images[-1] == run.images[run.ids[-1]]).all()
    assert [example.id for example in run.examples] == list(run.ids)
    assert (run.examples[2].image == Shapes().load(run.ids[2]).image).all()
    with pytest.raises(IndexError):
        _ = run.images[5]
    with pytest.raises(KeyError, match="nobody"):
        _ = run.images["nobody"]


def test_nothing_is_read_before_it_is_asked_for(pair, results, monkeypatch):
    run = se.load(pair[0].path)
    images = run.images
    monkeypatch.setattr(
        "sde_edit.python.runs.read_output", lambda file: pytest.fail(f"read {file}")
    )
    assert len(images) == len(images[1:]) + 1 == 5


def test_psnr_of_the_images_is_the_score(pair):
    """What `images` and `examples` give is what was measured."""
    run = pair[1]
    pairs = zip(run.images, run.examples, strict=True)
    mse = [np.mean((made / 255.0 - one.image / 255.0) ** 2) for made, one in pairs]
    values = [run.scores["psnr"].per_example[i] for i in run.ids]
    np.testing.assert_allclose(-10 * np.log10(mse), values, rtol=1e-6)


def test_found_by_id_path_and_settings(pair, results):
    ode, sde = pair
    assert se.load(ode.id[:6], results=results) == ode == se.load(ode.path)
    assert se.runs("sampler=sde", "steps=3,4", results=results) == [sde]
    assert {*se.runs(results=results)} >= {ode, sde}
    assert se.runs("steps=7", results=results) == []


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (["stebs=3"], "Did you mean 'steps'"),
        (["paths.data=x"], "no run has a setting 'paths.data'"),
        (["state=sealed"], "no run has state 'sealed'"),
        (["steps"], "no run 'steps'"),
    ],
)
def test_a_filter_that_selects_nothing_by_mistake_is_refused(filters, said, results):
    with pytest.raises(se.UserError, match=said):
        se.runs(*filters, results=results)


def test_what_the_command_refuses_is_refused(results):
    with pytest.raises(se.UserError, match="launchers are for sweep"):
        se.run("launcher=slurm", results=results)
    with pytest.raises(se.UserError, match=r"data.limit=0"):
        se.run(limit=0, results=results)


def test_a_contact_sheet(pair):
    assert pair[0].contact_sheet().width > 64


def test_a_folder_of_plug_ins(tmp_path):
    folder = plugin_folder(tmp_path / "mine")
    with no_plugins_left():
        given = (f"plugins={folder}", "task=inpaint", "sampler=halved", "steps=2", *GMM)
        (run,) = se.run(*given, limit=1, results=tmp_path)
        assert run.spec.sampler.name == "halved"
        assert se.sampler("halved", share=1).share == 1
        assert run.examples[0].id == run.ids[0]
    with no_plugins_left():
        se.use_plugins(folder)
        assert se.runs("sampler=halved", results=tmp_path) == [run]


# ------------------------------------------------------------------ pandas


def test_a_frame_has_a_row_per_image(pair):
    pytest.importorskip("pandas")
    frame = pair[0].to_pandas()
    assert list(frame.index) == list(pair[0].ids)
    assert list(frame.columns) == ["psnr", "seconds", "evaluations"]
    assert frame["psnr"].mean() == pytest.approx(pair[0].scores["psnr"].value)


def test_without_pandas_the_remedy_is_named(pair, monkeypatch):
    there = builtins.__import__

    def without_pandas(name, *rest):
        if name == "pandas":
            raise ImportError(name)
        return there(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(se.UserError, match="pip install"):
        pair[0].to_pandas()
