"""Lists of runs: the settings that tell them apart, states, order, records, speed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from sde_edit.errors import UserError
from sde_edit.report.formats import markdown
from sde_edit.report.leaderboard import (
    best_first,
    common_settings,
    leaderboard_records,
    leaderboard_table,
    list_run,
    status_table,
)
from sde_edit.report.selection import varying
from sde_edit.report.table import Table
from sde_edit.store.runs import Run, RunStore
from tests.builders import add_images, add_score, finished_run, make_spec


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path)


def column(table: Table, heading: str) -> dict[str, str]:
    """Run id -> the text in a column."""
    at = [c.label for c in table.columns].index(heading)
    return {row.label: row.cells[at].text for row in table.blocks[0].rows}


# ------------------------------------------------------------------ settings
def test_only_settings_that_differ_are_shown(store: RunStore) -> None:
    specs = [make_spec("ode", 25), make_spec("ode", 50), make_spec("sde", 50, seed=1)]
    runs = [finished_run(store, spec, {"psnr": 20.0}) for spec in specs]
    listings = [list_run(run) for run in runs]
    table = status_table(listings)
    shown = [c.label for c in table.columns]
    assert shown == ["sampler", "steps", "seed", "images", "state", "metrics"]
    assert column(table, "steps") == {runs[0].id: "25", runs[1].id: "50", runs[2].id: "50"}
    assert common_settings(listings) == "In every run: task inpaint, model shapes, data shapes."


def test_a_setting_takes_one_line_and_controls_no_terminal(store: RunStore) -> None:
    prompts = ["a\nred | ring", "\x1b[2Ja ring"]
    runs = [finished_run(store, make_spec(task_params={"prompt": p}), {}) for p in prompts]
    table = status_table([list_run(run) for run in runs])
    assert set(column(table, "task.prompt").values()) == {"a red | ring", "[2Ja ring"}


@pytest.mark.parametrize(
    ("a", "b", "keys"),
    [
        ({"task": "inpaint"}, {"task": "drag", "task_params": {"m": 3}}, ["task"]),
        ({"task_params": {"t_0": 0.4}}, {"task_params": {"t_0": 0.5}}, ["task.t_0"]),
        ({"sampler": "ode"}, {"sampler": "bdia", "sampler_params": {"gamma": 1}}, ["sampler"]),
        ({"data_params": {"n": 1}}, {"data_params": {"n": 2}}, ["data.n"]),
        ({"spacing": "leading"}, {"spacing": "trailing"}, ["grid.spacing"]),
    ],
)
def test_what_follows_from_another_setting_is_no_difference(
    a: dict[str, Any], b: dict[str, Any], keys: list[str]
) -> None:
    assert varying([make_spec(**a), make_spec(**b)]) == keys


def test_another_digest_alone_is_a_difference() -> None:
    from dataclasses import replace

    a = make_spec()
    b = replace(a, model=replace(a.model, digest="other"))
    assert varying([a, b]) == ["model.digest"]


# ------------------------------------------------------------------ states
def test_a_part_of_the_data_is_finished_if_no_more_was_asked_for(store: RunStore) -> None:
    run = finished_run(store, make_spec(), {"psnr": 20.0}, n=3, of=8)
    found = list_run(run)
    assert (found.state, found.images, found.n) == ("finished", "3 of 8", 3)


def test_a_run_that_lacks_images_is_partial(store: RunStore) -> None:
    begun = store.open(make_spec("ode"))
    add_images(begun, ["a", "b"], seal=False)
    lost = finished_run(store, make_spec("sde"), {})
    next((lost.path / "outputs").iterdir()).unlink()
    extended = finished_run(store, make_spec("sde2"), {})
    row = extended.row_file("a").read_text().splitlines()[0]
    extended.row_file("b").write_text(json.dumps(json.loads(row) | {"id": "more"}) + "\n")
    found = [list_run(run) for run in (begun, store.open(make_spec("bdia")), lost, extended)]
    assert {one.state for one in found} == {"partial"}
    assert [one.images for one in found] == ["2", "0", "8 of 8", "8 of 8"]


# ------------------------------------------------------------------ scores
def test_the_best_run_comes_first_whichever_direction_is_better(store: RunStore) -> None:
    scores: list[dict[str, float]] = [{"psnr": 20.0, "fid": 3.0}, {"psnr": 22.0, "fid": 5.0}, {}]
    runs = [finished_run(store, make_spec(seed=i), own) for i, own in enumerate(scores)]
    listings = [list_run(run) for run in reversed(runs)]
    first, second, none = (run.id for run in runs)
    assert [one.id for one in best_first(listings, "psnr")] == [second, first, none]
    assert [one.id for one in best_first(listings, "fid")] == [first, second, none]
    with pytest.raises(UserError, match=r"no run has metric 'fit'\. Did you mean 'fid'"):
        best_first(listings, "fit")


def test_the_table_shows_scores_costs_and_what_cannot_be_compared(store: RunStore) -> None:
    a = finished_run(store, make_spec(seed=0), {"psnr": 20.0, "fid": 3.0})
    b = finished_run(store, make_spec(seed=1), {"fid": 4.0}, seconds=0.5)
    add_score(b, "psnr", 21.0, convention="another peak")
    text = markdown(leaderboard_table([list_run(run) for run in (a, b)], ["psnr", "fid"]))
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {b.id}")]
    cells = [cell.strip() for cell in line.strip("|").split("|")][1:]
    assert cells[1:] == [
        "21.00 [20.50, 21.50]",
        "4.00 [3.50, 4.50]",
        "8 of 8",
        "0.50",
        "50",
        "finished",
    ]
    assert "psnr is not comparable, it was measured as" in text
    assert "fid is not" not in text


def test_records_are_unrounded_and_say_the_main_settings(store: RunStore) -> None:
    run = finished_run(store, make_spec(), {"psnr": 1 / 3}, n=3, of=8)
    (record,) = leaderboard_records([list_run(run)], ["psnr", "fid"])
    assert record == {
        "run": run.id, "task": "inpaint", "sampler": "ode", "model": "shapes", "data": "shapes",
        "steps": 25, "psnr": 1 / 3, "psnr_low": 1 / 3 - 0.5, "psnr_high": 1 / 3 + 0.5,
        "fid": None, "fid_low": None, "fid_high": None, "n": 3, "of": 8,
        "seconds_per_image": 0.25, "evaluations_per_image": 50.0, "state": "finished",
    }  # fmt: skip


@pytest.mark.parametrize("damage", ["{", '{"value": 1e999}'])
def test_a_damaged_score_is_named_and_left_out(store: RunStore, damage: str) -> None:
    run = finished_run(store, make_spec(), {"psnr": 20.0, "fid": 3.0})
    run.score_file("psnr", 1, {}).write_text(damage)
    found = list_run(run)
    assert list(found.scores) == ["fid"]
    (problem,) = found.problems
    assert "psnr@1" in problem


def test_a_score_that_is_not_finite_is_named_and_left_out(store: RunStore) -> None:
    run = finished_run(store, make_spec(), {})
    add_score(run, "psnr", float("inf"))
    found = list_run(run)
    assert not found.scores
    assert "not finite" in found.problems[0]


def test_a_hundred_runs_are_listed_in_a_moment(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("os.fsync", lambda file: None)
    store = RunStore(tmp_path)
    for seed in range(100):
        finished_run(store, make_spec(seed=seed), {"psnr": 20.0, "fid": 3.0}, n=16)
    start = time.process_time()
    listings: list[Any] = [list_run(Run(run.path)) for run in store.runs()]
    leaderboard_table(listings, ["psnr", "fid"])
    assert len(listings) == 100
    assert time.process_time() - start < 1.0  # 0.1 s on two cores; scores in whole take longer
