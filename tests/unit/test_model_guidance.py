"""The default guidance of a task: the model's, or else that of the task's paper."""

from __future__ import annotations

from typing import Any

import pytest

from sde_edit.config import compose_config, experiment

TASKS: dict[str, float] = compose_config(["model=shapes"])["model"]["guidance"]


def task_of(task: str, *overrides: str) -> dict[str, Any]:
    found: dict[str, Any] = compose_config([f"task={task}", *overrides])["task"]
    return found


@pytest.mark.parametrize("task", TASKS)
def test_it_is_the_models(task: str) -> None:
    assert task_of(task)["guidance"] == TASKS[task]
    assert task_of(task, f"model.guidance.{task}=1.25")["guidance"] == 1.25
    assert task_of(task, f"model.guidance.{task}=1.25", "task.guidance=2")["guidance"] == 2


def test_it_is_the_papers_for_any_other_model() -> None:
    found = {task: task_of(task, "model=sd15")["guidance"] for task in TASKS}
    assert found == {
        **dict.fromkeys(("inpaint", "reconstruct", "diffedit", "p2p", "sdedit", "sample"), 7.5),
        **{"roundtrip": 3.0, "drag": 3.0, "ddib": 1.0},
    }


def test_a_spec_has_the_value_in_force_and_not_where_it_comes_from() -> None:
    spec = experiment(["model.guidance.inpaint=1.25"]).spec
    assert spec == experiment(["task.guidance=1.25"]).spec
    assert spec.task.params["guidance"] == 1.25


@pytest.mark.parametrize("task", ["diffedit", "roundtrip"])
def test_the_way_up_has_the_guidance_of_the_way_down_unless_it_is_given(task: str) -> None:
    assert task_of(task, "task.guidance=2.5")["source_guidance"] == 2.5
    given = task_of(task, "task.guidance=2.5", "task.source_guidance=1.0")
    assert given["source_guidance"] == 1.0
