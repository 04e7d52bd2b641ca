"""Plans from runs, and results from answers, through the command line."""

from __future__ import annotations

import io

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sde_edit.cli import main
from sde_edit.commands.study import publish_results
from sde_edit.config import data_set
from sde_edit.errors import UserError
from sde_edit.report.formats import from_json
from sde_edit.store.runs import Run
from sde_edit.study.plan import Study
from tests.builders import add_images, add_score, begin_attempt, runs_of_drags
from tests.unit.study.plans import prefers, simulate


def study(*words: str) -> str:
    """What a command says, whether it succeeds or not."""
    return CliRunner().invoke(main, ["study", *words]).output


@pytest.fixture
def results(tmp_path):
    runs_of_drags(tmp_path)
    return tmp_path


def ids(results):
    return [path.name.rpartition("__")[2] for path in sorted(results.glob("runs/*"))]


def new(results, *words):
    return study(
        "new", "drags", f"runs={','.join(ids(results))}", *words, f"paths.results={results}"
    )


def test_plan_says_what_it_is_and_what_to_do_next(results):
    said = new(results, "n=10", "labels=ODE-Drag,SDE-Drag")
    plan = Study.named("drags", results).plan
    assert f"plan {plan.digest[:12]}" in said
    assert "10 items, 15 questions to each of 6 raters" in said
    assert f"next: sde-edit study serve drags paths.results={results}" in said
    assert [arm.label for arm in plan.arms] == ["ODE-Drag", "SDE-Drag"]
    assert len(plan.items) == 10
    assert len(plan.practice) == 3
    assert len({item.id for item in plan.shown}) == 13
    assert any(note.startswith("Data: shapes-drags") for note in plan.notes)


def test_the_same_command_gives_the_same_plan(results, tmp_path_factory):
    new(results, "n=10")
    other = tmp_path_factory.mktemp("other")
    runs_of_drags(other)
    new(other, "n=10")
    plans = [Study.named("drags", folder).plan for folder in (results, other)]
    assert plans[0] == plans[1]
    assert plans[0].digest == plans[1].digest


def test_images_are_the_runs_enlarged_and_without_metadata(results):
    new(results, "n=10")
    found = Study.named("drags", results)
    run = Run(next(results.glob("runs/*ode*")))
    item = found.plan.items[0]
    place = [arm.run for arm in found.plan.arms].index(run.id)
    shown = Image.open(io.BytesIO(found.images[item.edits[place]].read_bytes()))
    stored = Image.open(run.output(run.rows()[item.id]))
    assert shown.info == {}
    np.testing.assert_array_equal(np.asarray(shown)[::6, ::6], np.asarray(stored))


def test_original_shows_where_the_drag_goes(results):
    new(results, "n=10")
    found = Study.named("drags", results)
    item = found.plan.items[0]
    example = data_set(["data=shapes-drags"])[1].load(item.id)
    shown = np.asarray(Image.open(found.images[item.original]))
    x, y = (6 * np.array(example.drags[0].source)).astype(int)
    assert (shown[y, x] == 255).all()
    assert item.words == example.caption
    assert "An arrow in the original shows what should move, and to where." in found.plan.guidelines


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["n=14"],
            "n=14: the runs share 16 examples, and 3 of them are for practice: n=13 at most",
        ),
        (["n=many"], "n=many: must be a whole number"),
        (["half_width=0"], "half_width=0: must be"),
        (["labels=a"], "2 runs cannot be told apart by a"),
        (["labels=a,a"], "2 runs cannot be told apart by a, a"),
        (["question="], "question="),
        (["qestion=Which?"], "Did you mean 'question'?"),
        (["10"], "10: settings are written KEY=VALUE"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_is_written(results, words, problem):
    assert problem in new(results, *words)
    assert not (results / "studies").exists()


def test_runs_must_be_several_there_and_of_one_data_set(results):
    first = ids(results)[0]
    where = f"paths.results={results}"
    assert "a run is named twice" in study("new", "drags", f"runs={first},{first}", "n=5", where)
    assert "no run 'zzz'" in study("new", "drags", f"runs={first},zzz", where)
    assert "runs=" in study("new", "drags", f"runs={first}", where)
    made = ["task=drag", "data=shapes-drags", "data.pairs_of_points=2", "sampler=bdia", where]
    other = begin_attempt(made, ended=1.0)
    add_images(other, ["test-000000"])
    said = study("new", "drags", f"runs={first},{other.id}", where)
    assert f"run {other.id} edited data=shapes-drags, and its examples are not those of" in said


def test_a_study_is_not_planned_twice(results):
    new(results, "n=5")
    assert "exists, and a plan is never changed" in new(results, "n=5")


def test_results_are_a_table_in_all_forms_and_its_bars(results):
    for name in ids(results):
        run = Run(next(results.glob(f"runs/*{name}")))
        values = {i: float("ode" in run.path.name) for i in run.rows()}
        add_score(run, "psnr", 0.5, per_example=values, n=len(values))
    new(results, "n=10", "raters=1", "labels=ODE-Drag,SDE-Drag")
    found = Study.named("drags", results)
    (found.folder / "raters.json").unlink()
    simulate(found, [prefers(0)] * 3)
    table, files = publish_results("drags", [f"paths.results={results}"])
    names = {file.relative_to(results).as_posix() for file in files}
    base = "study-drags-simulated"
    tables = {f"tables/{base}{end}" for end in (".md", ".csv", ".json", ".tex", "-notes.tex")}
    assert names == tables | {f"figures/{base}.{end}" for end in ("png", "svg", "pdf")}
    assert from_json((results / "tables" / f"{base}.json").read_text()) == table
    (scores,) = [block for block in table.blocks if block.title == "2AFC score"]
    assert [(row.label, row.cells[0].value) for row in scores.rows] == [("psnr", 1.0)]


def test_results_need_answers_and_a_study(results):
    with pytest.raises(UserError, match=r"no study 'other'.*sde-edit study new other"):
        publish_results("other", [f"paths.results={results}"])
    new(results, "n=5")
    with pytest.raises(UserError, match="no question that counts is answered yet"):
        publish_results("drags", [f"paths.results={results}"])
    simulate(Study.named("drags", results), [prefers(0)] * 6, most=3)  # for practice
    with pytest.raises(UserError, match="no question that counts is answered yet"):
        publish_results("drags", [f"paths.results={results}"])


def test_serving_needs_the_extra(results, monkeypatch):
    monkeypatch.setattr("sde_edit.web.extra.find_spec", lambda name: None)
    assert "pip install 'sde-edit[web]'" in study("serve", "drags")


def test_a_study_that_is_open_to_others_needs_a_token(results):
    new(results, "n=5")
    where = f"paths.results={results}"
    assert "give a --token" in study("serve", "drags", where, "--host", "192.168.1.5")
