"""Settings that run ids leave out at their defaults: tables and labels tell their values apart."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from sde_edit.api.spec import RunSpec
from sde_edit.commands.table import build_table
from sde_edit.config import experiment
from sde_edit.errors import UserError
from sde_edit.report.selection import diff_specs, flatten, matches, varying
from sde_edit.report.summary import labels_of
from sde_edit.report.table import Table
from sde_edit.store.runs import Run, RunStore, run_id
from tests.builders import finished_run, make_spec

KEY = "sampler.inversion_time"
TABLE = {
    "name": "t",
    "kind": "arms",
    "title": "T",
    "runs": {"task": ["reconstruct"], "steps": [25]},
    "arms": [
        {"label": "start", "set": {"sampler": "ode", KEY: "start"}},
        {"label": "end", "set": {"sampler": "ode", KEY: "end"}},
    ],
    "column": "steps",
    "baseline": "start",
}


def ode(form: str = "start", *, stated: bool = True, **asked: Any) -> RunSpec:
    """A spec as `config` composes it; not stated: as older versions stored it."""
    params = {"inversion_time": form} if form != "start" else {}
    spec = make_spec("ode", task="reconstruct", sampler_params=params, **asked)
    defaults = {"sampler": {"inversion_time": "start"}} if form == "start" and stated else {}
    return dataclasses.replace(spec, defaults=defaults)


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path)


def scored(store: RunStore, spec: RunSpec, value: float) -> Run:
    return finished_run(store, spec, {"psnr": value})


def arms_of(table: Table) -> list[float | None]:
    (block,) = table.blocks
    return [row.cells[0].value for row in block.rows if row.kind == "arm"]


def test_the_run_id_leaves_the_default_out_and_the_stored_spec_states_it(store) -> None:
    stated, older = ode(), ode(stated=False)
    assert run_id(stated) == run_id(older)
    assert stated == older
    run = store.open(stated)
    assert flatten(run.spec)[KEY] == "start"
    assert run.spec.defaults == {"sampler": {"inversion_time": "start"}}


def test_composed_specs_state_what_their_ids_leave_out() -> None:
    plain = experiment(["task=reconstruct", "sampler=ode"]).spec
    other = experiment(["task=reconstruct", "sampler=ode", f"{KEY}=end"]).spec
    assert plain.defaults["sampler"]["inversion_time"] == "start"
    assert "inversion_time" not in other.defaults["sampler"]
    assert (flatten(plain)[KEY], flatten(other)[KEY]) == ("start", "end")


def test_a_table_shows_both_values_and_where_chooses_one(store) -> None:
    scored(store, ode(), 20.0)
    scored(store, ode("end"), 30.0)
    table = build_table(TABLE, store.runs())
    assert arms_of(table) == [20.0, 30.0]
    (difference,) = [row for row in table.blocks[0].rows if row.kind == "difference"]
    assert difference.cells[0].value == pytest.approx(10.0)
    one = {**TABLE, "arms": [{"label": "ODE", "set": {"sampler": "ode"}}], "baseline": None}
    with pytest.raises(UserError, match=r'sampler\.inversion_time: .*"start" \(runs'):
        build_table(one, store.runs())
    for form, value in (("start", 20.0), ("end", 30.0)):
        assert arms_of(build_table({**one, "where": {KEY: form}}, store.runs())) == [value]


def test_an_option_goes_across(store) -> None:
    scored(store, ode(), 20.0)
    scored(store, ode("end"), 30.0)
    runs = {**TABLE["runs"], KEY: ["start", "end"]}
    arm = {"label": "ODE", "set": {"sampler": "ode"}}
    across = {**TABLE, "runs": runs, "arms": [arm], "column": KEY, "baseline": None}
    table = build_table(across, store.runs())
    assert [column.label for column in table.columns] == ["start", "end"]
    assert [cell.value for cell in table.blocks[0].rows[0].cells] == [20.0, 30.0]


def test_an_older_run_is_named_until_its_spec_is_completed(store) -> None:
    """It is neither taken nor passed over in silence, and the command of the note completes it."""
    older = scored(store, ode(stated=False), 20.0)
    scored(store, ode("end"), 30.0)
    table = build_table(TABLE, store.runs())
    assert arms_of(table) == [None, 30.0]
    (note,) = [note for note in table.notes if note.startswith("start, steps 25")]
    assert f"no run, unless it is {older.id}, which does not state {KEY}" in note
    assert f"sampler=ode {KEY}=start" in note
    assert store.open(ode()).id == older.id
    assert arms_of(build_table(TABLE, store.runs())) == [20.0, 30.0]
    assert store.open(ode(stated=False)).spec.defaults  # what is stated stays


def test_an_older_run_is_of_one_experiment_with_newer_ones(store) -> None:
    """Both leave the setting out, so it had the same value."""
    scored(store, ode(stated=False), 20.0)
    scored(store, ode(model="sd15"), 21.0)
    plain = {**TABLE, "arms": [{"label": "ODE", "set": {"sampler": "ode"}}], "baseline": None}
    with pytest.raises(UserError) as error:
        build_table(plain, store.runs())
    assert "model: " in str(error.value)
    assert KEY not in str(error.value)


def test_runs_are_told_apart_by_both_values(store) -> None:
    runs = [scored(store, ode(), 20.0), scored(store, ode("end"), 30.0)]
    specs = [run.spec for run in runs]
    assert varying(specs) == [KEY]
    assert diff_specs(*specs) == {KEY: ("start", "end")}
    assert list(labels_of(runs).values()) == [f"ode {KEY}=start", f"ode {KEY}=end"]
    assert diff_specs(ode(), ode(stated=False)) == {}


def test_a_changed_default_is_damage_to_nothing_but_a_changed_setting_is(store) -> None:
    """The id of a folder covers all of its spec but the defaults."""
    run = store.open(ode())
    file = run.path / "spec.json"
    stored = json.loads(file.read_text())
    stored["defaults"]["sampler"]["inversion_time"] = "middle"
    file.write_text(json.dumps(stored))
    assert run.has_spec
    stored["sampler"]["params"]["inversion_time"] = "middle"
    file.write_text(json.dumps(stored))
    assert not run.has_spec


def test_images_made_elsewhere_are_chosen_by_the_options_of_their_data() -> None:
    """Of another program only the data and the outputs are known: any sampler's option fits."""
    plain = make_spec("sdxl", task="reconstruct", data="folder")
    label = dataclasses.replace(plain.model, version=0)
    spec = dataclasses.replace(
        plain, model=label, defaults={"data": {"side": "short"}, "task": {"way": "noise"}}
    )
    assert spec.is_external
    assert flatten(spec)["data.side"] == "short"
    assert matches(spec, {"data.side": ["short"], "task.way": ["invert"]})
    assert not matches(spec, {"data.side": ["long"]})
