"""Which runs a table is made of, and what is refused."""

from __future__ import annotations

import pytest

from sde_edit.commands.table import build_table
from sde_edit.errors import UserError
from sde_edit.report.formats import markdown
from sde_edit.report.selection import command, flatten
from sde_edit.report.table import MISSING
from sde_edit.store.runs import RunStore
from tests.builders import add_score
from tests.unit.report.inpainting import Fill, N, add_numbered, config, inpaint_spec, row_of


def test_missing_run_is_a_dash_and_a_command(store: RunStore, fill: Fill) -> None:
    fill(skip=(("sde", "large", 100),))
    table = build_table(config(where={"model": "shapes", "task.guidance": 7.5}), store.runs())
    assert row_of(table, "shapes_fid", "Inpaint-SDE")["large masks, 100"].value is None
    assert row_of(table, "shapes_fid", "SDE − ODE")["large masks, 100"].value is None
    command = (
        "`sde-edit run task=inpaint sampler=sde data.masks=large steps=100 model=shapes "
        "task.guidance=7.5`"
    )
    assert f"Inpaint-SDE, large masks, 100 steps: no run. Make it with {command}" in table.notes
    assert "of 5 cells" in table.blocks[0].summary
    assert "; 1 not compared." in table.blocks[0].summary
    assert MISSING in markdown(table)


def test_unsealed_run_does_not_count(store: RunStore, fill: Fill) -> None:
    (fill()[("ode", "small", 25)].path / "SEALED").unlink()
    table = build_table(config(), store.runs())
    assert row_of(table, "shapes_fid", "Inpaint-ODE")["small masks, 25"].value is None
    assert any("begun, not finished" in note for note in table.notes)


def test_two_experiments_are_refused_and_where_chooses(store: RunStore, fill: Fill) -> None:
    fill()
    other = store.open(inpaint_spec("ode", "small", 25, guidance=3.0))
    add_numbered(other, N)
    add_score(other, "shapes_fid", 1.0)
    with pytest.raises(UserError) as error:
        build_table(config(), store.runs())
    assert "task.guidance" in str(error.value)
    assert other.id in str(error.value)
    assert "where: {task.guidance:" in str(error.value)
    table = build_table(config(where={"task.guidance": 7.5}), store.runs())
    assert row_of(table, "shapes_fid", "Inpaint-ODE")["small masks, 25"].value == 9.5


def test_mixture_over_different_cells_is_refused(store: RunStore, fill: Fill) -> None:
    fill(skip=(("ode", "small", 25),))
    other = store.open(inpaint_spec("ode", "small", 25, seed=1))
    add_numbered(other, N)
    with pytest.raises(UserError, match=f"seed: .*{other.id}"):
        build_table(config(), store.runs())


def test_arms_that_differ_in_what_goes_across_are_refused(store: RunStore) -> None:
    """Data may follow from the masks; for equal masks it must be the same in both arms."""
    for sampler, data in (("ode", "shapes"), ("sde", "places")):
        add_numbered(store.open(inpaint_spec(sampler, data=data)), N)
    with pytest.raises(UserError, match="data: "):
        build_table(config(), store.runs())


def test_another_model_is_named_once(store: RunStore, fill: Fill) -> None:
    fill()
    fill(model="sd15")
    with pytest.raises(UserError) as error:
        build_table(config(), store.runs())
    assert "model:" in str(error.value)
    assert "model.digest" not in str(error.value)
    assert build_table(config(where={"model": "sd15"}), store.runs())


def test_no_run_at_all_names_the_first_command(store: RunStore) -> None:
    with pytest.raises(UserError, match=r"no finished run for table2.*sde-edit run task=inpaint"):
        build_table(config(), store.runs())


def test_a_swept_extra_key_is_refused(store: RunStore, fill: Fill) -> None:
    fill()
    grid = config()["runs"] | {"task.guidance": [3.0, 7.5]}
    with pytest.raises(UserError, match=r"several values of task\.guidance"):
        build_table(config(runs=grid), store.runs())


def test_specs_are_addressed_like_overrides() -> None:
    flat = flatten(inpaint_spec("sde", "large", 50))
    assert flat["task"] == "inpaint"
    assert flat["task.guidance"] == 7.5
    assert flat["data.masks"] == "large"
    assert flat["steps"] == 50
    assert flat["model.digest"] == "digest-of-shapes"
    assert flat["grid.last_sigma"] == "sigma_min"


def test_commands_are_quoted_and_hold_overrides_only() -> None:
    overrides = {"task": "inpaint", "task.prompt": "a scene", "model.digest": "abc"}
    assert command("run", overrides) == "sde-edit run task=inpaint 'task.prompt=a scene'"
