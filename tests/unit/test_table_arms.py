"""Arms of a table as its config means them: each with its own defaults, and each once."""

from __future__ import annotations

from typing import Any

import pytest

from sde_edit.config import compose_config, table_config, table_grids
from sde_edit.errors import UserError
from sde_edit.overrides import expand

OTHER = ["model.guidance.inpaint=1.5", "model.guidance.diffedit=1.5"]


def arms(name: str, *overrides: str) -> dict[str, dict[str, Any]]:
    return {arm["label"]: arm["set"] for arm in table_config(name, overrides)[0]["arms"]}


def test_an_arm_has_its_own_default_of_what_only_others_set() -> None:
    found = arms("table2", *OTHER)
    assert {label: own["task.guidance"] for label, own in found.items()} == {
        "Inpaint-ODE": 1.5,
        "Inpaint-SDE": 1.5,
        "Inpaint-ODE at 7.5": 7.5,
        "Inpaint-SDE at 7.5": 7.5,
    }
    assert arms("table8", *OTHER)["DiffEdit-EDICT"]["task.source_guidance"] == 1.5
    drag = arms("figure3")["DragDiffusion"]
    assert "task.beta" not in drag  # its task has no such setting
    assert drag["task.t_0"] == compose_config(["task=drag_diffusion"])["task"]["t_0"]


def test_the_runs_of_an_arm_are_those_that_the_table_selects() -> None:
    """What is filled in is what the runs have without it."""
    config, rest = table_config("table2", OTHER)
    for arm, grid in zip(config["arms"], table_grids(config), strict=True):
        composed = compose_config([*expand(grid)[0], *rest])
        assert composed["task"]["guidance"] == arm["set"]["task.guidance"]


def test_arms_that_a_model_makes_alike_are_one() -> None:
    config, _ = table_config("table8", ["model=sd15"])
    labels = [arm["label"] for arm in config["arms"]]
    assert labels == ["DiffEdit-SDE", "DiffEdit-ODE", "DiffEdit-BDIA", "DiffEdit-EDICT"]
    assert [arm["stands_for"] for arm in config["arms"]] == [
        ["DiffEdit-SDE at 7.5"],
        ["DiffEdit-ODE at 7.5"],
        [],
        [],
    ]
    assert config["figure"]["arms"] == ["DiffEdit-SDE", "DiffEdit-ODE"]
    assert [*arms("table2", "experiment=inpaint_places_sd15")] == ["Inpaint-ODE", "Inpaint-SDE"]
    assert arms("table2", "model=sd15", "task.guidance=3")["Inpaint-ODE"]["task.guidance"] == [3]


@pytest.mark.parametrize("name", ["candidates-inpaint", "candidates-drag", "candidates-diffedit"])
def test_arms_that_keep_different_candidates_are_not_one(name: str) -> None:
    kept = [arm.get("keep") for arm in table_config(name, ())[0]["arms"]]
    assert len(kept) == 5
    assert len({*kept} - {None}) == 3


def test_a_setting_that_tells_arms_apart_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"tells the arms of table2 apart, which have 1\.5, 7\.5: leave it out"
    ):
        table_config("table2", [*OTHER, "task.guidance=3"])
