"""Runs chosen by names and filters."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sde_edit.commands.choice import choose
from sde_edit.errors import UserError
from sde_edit.store.runs import Run, RunStore
from tests.builders import add_images, finished_run, make_spec


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Run]:
    store = RunStore(tmp_path)
    begun = store.open(make_spec("bdia", 50, dtype="bfloat16", task_params={"guidance": None}))
    add_images(begun, ["a"], seal=False)
    return {
        "ode": finished_run(store, make_spec("ode", 25), {"psnr": 20.0, "fid": 3.0}, n=4),
        "sde": finished_run(store, make_spec("sde", 50), {"psnr": 21.0}, n=8),
        "sde2": finished_run(store, make_spec("sde2", 100), {}, n=8, of=64),
        "bdia": begun,
    }


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ([], "ode sde sde2 bdia"),
        (["task=inpaint"], "ode sde sde2 bdia"),
        (["sampler=ode,sde"], "ode sde"),
        (["sampler!=ode,sde"], "sde2 bdia"),
        (["n>=8"], "sde sde2"),
        (["n<8", "n>1"], "ode"),
        (["steps<=50", "state=finished"], "ode sde"),
        (["state=partial"], "bdia"),
        (["metric=psnr"], "ode sde"),
        (["metric!=fid"], "sde sde2 bdia"),
        (["metric=fid,psnr"], "ode sde"),
        (["dtype=bf16"], "bdia"),
        (["task.guidance=7.5"], "ode sde sde2"),
        (["task.guidance=null"], "bdia"),
        (["task.guidance>1"], "ode sde sde2"),
        (["data.digest=digest-of-shapes-None"], "ode sde sde2 bdia"),
    ],
)
def test_filters(runs: dict[str, Run], tmp_path: Path, words: list[str], kept: str) -> None:
    choice = choose([*words, f"paths.results={tmp_path}"])
    assert {one.spec.sampler.name for one in choice.listings} == set(kept.split())


@pytest.mark.parametrize(
    ("word", "missing"), [("sampler=ode,sdee", "sampler 'sdee'"), ("steps=25,26", "steps '26'")]
)
def test_an_alternative_that_no_run_has_is_refused(
    runs: dict[str, Run], tmp_path: Path, word: str, missing: str
) -> None:
    with pytest.raises(UserError, match=f"no run has {missing}"):
        choose([word, f"paths.results={tmp_path}"])
    left = choose([word.replace("=", "!="), f"paths.results={tmp_path}"]).listings
    assert len(left) == 3


def test_a_filter_by_metric_chooses_what_is_shown(runs: dict[str, Run], tmp_path: Path) -> None:
    where = f"paths.results={tmp_path}"
    assert set(choose([where]).metrics) == {"psnr", "fid"}
    assert choose(["metric=fid", where]).metrics == ("fid",)


def test_runs_by_name(runs: dict[str, Run], tmp_path: Path) -> None:
    where = f"paths.results={tmp_path}"
    names = [runs["sde"].id[:6], "inpaint__ode__", runs["sde"].id]
    assert [one.id for one in choose([*names, where]).listings] == [runs["sde"].id, runs["ode"].id]
    assert [one.id for one in choose([*names, "n>=8", where]).listings] == [runs["sde"].id]
    with pytest.raises(UserError, match="no run 'zz'"):
        choose(["zz", where])


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("task.guidence=3", "no run has a setting 'task.guidence'. Did you mean 'task.guidance'"),
        ("state=begun", "no run has state 'begun'. Known: finished, partial"),
        ("metric=psnrr", "no run has metric 'psnrr'. Did you mean 'psnr'"),
        ("n>=many", "'many' is not a number to compare n with"),
        ("n=>2", "n=>2: write n>=2"),
        ("n>=100", "no run in .* fits n>=100"),
        ("sampler={", "sampler"),
    ],
)
def test_what_fits_nothing_is_said(
    runs: dict[str, Run], tmp_path: Path, word: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        choose([word, f"paths.results={tmp_path}"])


def test_a_folder_that_is_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such folder"):
        choose([f"paths.results={tmp_path / 'nowhere'}"])
    with pytest.raises(UserError, match="no run in"):
        choose([f"paths.results={tmp_path}"])


def test_broken_runs_are_named_and_the_rest_chosen(
    runs: dict[str, Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (runs["sde"].path / "spec.json").write_text("{")
    runs["ode"].score_file("fid", 1, {}).write_text("{")
    with caplog.at_level(logging.WARNING, "sde_edit"):
        listings = choose([f"paths.results={tmp_path}"]).listings
    assert {one.spec.sampler.name for one in listings} == {"ode", "sde2", "bdia"}
    assert f"left out: run {runs['sde'].path.name}" in caplog.text
    assert f"run {runs['ode'].id}: " in caplog.text
