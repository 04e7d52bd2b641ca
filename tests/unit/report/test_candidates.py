"""Candidates: the best is chosen within each example, and whole examples are resampled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sde_edit.api.metric import Score
from sde_edit.commands.contact_sheets import sheet_settings
from sde_edit.commands.table import build_table
from sde_edit.config import metric
from sde_edit.errors import UserError
from sde_edit.evaluation.bootstrap import score_of
from sde_edit.report.candidates import as_candidates
from sde_edit.report.results import RunResult
from sde_edit.store.runs import RunStore
from tests.builders import add_score, finished_run, make_spec

IDS = [f"{i:02d}" for i in range(9)]
RNG = np.random.default_rng(0)
VALUES = {"truth_error": RNG.random((3, 9)), "psnr": RNG.random((3, 9))}


def run(seed: int, **changes: Any) -> RunResult:
    rows = {name: _rows(values[seed]) for name, values in VALUES.items()}
    scores: dict[str, Score] = {
        name: score_of(metric(name), row, 50, seal="s") for name, row in rows.items()
    }
    given: dict[str, Any] = {
        "id": f"run{seed}",
        "spec": make_spec("sde", seed=seed),
        "n": 9,
        "of": 9,
        "examples": frozenset(IDS),
        "scores": scores,
        "seconds": 2.0,
        "evaluations": 25.0,
        "calls": None,
        "devices": (),
        "made_on": (),
        "machines": (),
        "cut": 0,
    }
    return RunResult(**given | changes)


def _rows(values: Any) -> dict[str, torch.Tensor]:
    return {i: torch.tensor([v], dtype=torch.float64) for i, v in zip(IDS, values, strict=True)}


RUNS = [run(seed) for seed in range(3)]


def test_the_best_by_one_metric_keeps_its_values_of_the_others() -> None:
    kept = as_candidates(RUNS, "truth_error")
    best = VALUES["truth_error"].argmin(0)
    for one in kept:
        for name, values in VALUES.items():
            expected = values[best, range(9)]
            assert list((one.scores[name].per_example or {}).values()) == expected.tolist()
            assert one.scores[name].value == pytest.approx(expected.mean())
    assert kept[0].scores["truth_error"].value <= min(r.scores["truth_error"].value for r in RUNS)


def test_higher_is_better_chooses_the_largest() -> None:
    (first, *_) = as_candidates(RUNS, "psnr")
    assert first.scores["psnr"].value == pytest.approx(VALUES["psnr"].max(0).mean())


def test_replicates_are_those_of_a_run_that_made_the_chosen_images() -> None:
    """So they are paired with every other run over the same examples."""
    (first, *_) = as_candidates(RUNS, "psnr")
    made = score_of(metric("psnr"), _rows(VALUES["psnr"].max(0)), 50, seal="s")
    assert first.scores["psnr"].replicates == pytest.approx(made.replicates)
    assert (first.scores["psnr"].low, first.scores["psnr"].high) == pytest.approx(made.interval)


def test_all_candidates_have_to_be_paid() -> None:
    for kept in ("mean", "psnr"):
        for one in as_candidates(RUNS, kept):
            assert (one.evaluations, one.seconds, one.calls) == (75.0, 6.0, None)
    assert [one.scores for one in as_candidates(RUNS, "mean")] == [one.scores for one in RUNS]


def test_a_score_that_is_no_mean_over_examples_is_left_out() -> None:
    whole = replace(RUNS[0].scores["psnr"], value=3.0, per_example=None)
    ratio = replace(RUNS[0].scores["psnr"], value=3.0)
    more = {"fid": whole, "drag_distance": ratio}
    odd = [run(seed, scores=RUNS[seed].scores | more) for seed in range(3)]
    assert {*as_candidates(odd, "psnr")[0].scores} == {"truth_error", "psnr"}


def test_runs_that_cannot_be_chosen_from_are_refused() -> None:
    with pytest.raises(UserError, match=r"evaluate run0 run1 run2 metrics=clip"):
        as_candidates(RUNS, "clip")
    whole = [replace(r, scores={"fid": replace(r.scores["psnr"], per_example=None)}) for r in RUNS]
    with pytest.raises(UserError, match="fid has no value for each image"):
        as_candidates(whole, "fid")
    values = RUNS[0].scores["psnr"].per_example or {}
    some = replace(RUNS[0].scores["psnr"], per_example={i: values[i] for i in IDS[1:]})
    part = [replace(r, scores={"background_psnr": some}) for r in RUNS]
    with pytest.raises(UserError, match="background_psnr has no value for each image"):
        as_candidates(part, "background_psnr")
    others = run(2, examples=frozenset(IDS[1:]))
    with pytest.raises(UserError, match=r"candidates .* hold different examples: .*data\.limit"):
        as_candidates([*RUNS[:2], others], "psnr")


# ------------------------------------------------------------------ in a table
TABLE = {
    "name": "t",
    "kind": "arms",
    "title": "T",
    "runs": {"task": ["inpaint"]},
    "arms": [
        {"label": "ODE", "set": {"sampler": "ode", "steps": [30, 60]}},
        {
            "label": "SDE, mean",
            "set": {"sampler": "sde", "steps": [10, 20], "seed": [0, 1, 2]},
            "keep": "mean",
        },
        {
            "label": "SDE, best",
            "set": {"sampler": "sde", "steps": [10, 20], "seed": [0, 1, 2]},
            "keep": "psnr",
        },
    ],
    "average": "seed",
    "column": "all_steps",
    "baseline": "ODE",
    "costs": ["evaluations"],
}


def fill(store: RunStore, sampler: str, steps: int, seed: int, evaluations: float) -> None:
    made = finished_run(
        store, make_spec(sampler, steps, seed=seed), {}, n=9, evaluations=evaluations
    )
    ids = sorted(made.rows())
    values = dict(zip(ids, (10 * VALUES["psnr"][seed] + steps / 10).tolist(), strict=True))
    add_score(made, "psnr", float(np.mean([*values.values()])), per_example=values)


def test_candidates_stand_beside_an_edit_of_as_many_evaluations(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    fill(store, "ode", 30, 0, 30.0)
    fill(store, "ode", 60, 0, 60.0)
    for seed in range(3):
        fill(store, "sde", 10, seed, 10.0)
    for seed in range(2):
        fill(store, "sde", 20, seed, 20.0)
    table = build_table(TABLE, store.runs())
    assert (table.corner, [c.label for c in table.columns]) == ("steps in all", ["30", "60"])
    psnr, cost = table.blocks
    at_30 = {row.label: row.cells[0].value for row in psnr.rows if row.kind == "arm"}
    assert at_30["SDE, mean"] == pytest.approx(10 * VALUES["psnr"].mean() + 1)
    assert at_30["SDE, best"] == pytest.approx(10 * VALUES["psnr"].max(0).mean() + 1)
    assert [row.cells[0].value for row in cost.rows] == [30, 30, 30]
    assert any(row.kind == "difference" and row.cells[0].value for row in psnr.rows)
    # At 60 a candidate is lacking: there is nothing to choose from.
    assert [row.cells[1].value for row in psnr.rows[1:3]] == [None, None]
    assert any("and likewise with seed=1,2" in note for note in table.notes)


def test_no_sheet_shows_one_run_for_what_is_kept_of_several() -> None:
    with pytest.raises(UserError, match="'SDE, mean' keeps is of several runs"):
        sheet_settings(TABLE | {"sheet": 2})


def test_an_arm_that_keeps_one_of_nothing_is_refused(tmp_path: Path) -> None:
    arms = [{"label": "SDE", "set": {"sampler": "sde", "steps": [10]}, "keep": "psnr"}]
    with pytest.raises(UserError, match=r"several values of its key, as seed: \[0, 1, 2\]"):
        build_table(TABLE | {"arms": arms, "baseline": None}, [])
