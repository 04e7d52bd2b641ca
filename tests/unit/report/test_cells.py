"""Cells: differences, verdicts, intervals."""

from __future__ import annotations

import numpy as np
import pytest

from sde_edit.commands.table import build_table
from sde_edit.report.cells import difference_cell, score_cell, settings_notes, verdict_of
from sde_edit.report.results import RunResult, load_finished, load_result
from sde_edit.report.table import Cell
from sde_edit.store.runs import RunStore
from tests.builders import add_score, finished_run, make_spec
from tests.unit.report.inpainting import Fill, N, add_numbered, config, inpaint_spec, row_of


def test_difference_is_the_paired_bootstrap(store: RunStore, fill: Fill) -> None:
    runs = fill()
    cell = row_of(build_table(config(), store.runs()), "shapes_fid", "SDE − ODE")["small masks, 50"]
    ode, sde = runs["ode", "small", 50], runs["sde", "small", 50]
    a, b = sde.scores()["shapes_fid"], ode.scores()["shapes_fid"]
    spread = np.subtract(a.replicates, b.replicates)
    value = a.value - b.value
    assert cell.value == pytest.approx(value)
    assert cell.low == pytest.approx(value + np.percentile(spread - spread.mean(), 2.5))
    assert cell.high == pytest.approx(value + np.percentile(spread - spread.mean(), 97.5))
    assert cell.high - cell.low < 0.2  # the common part of the replicates cancels
    assert cell.verdict == "better"
    assert cell.runs == (sde.id, ode.id)


def test_verdict_knows_which_direction_is_better() -> None:
    assert verdict_of(0.1, 0.2, higher_is_better=True) == "better"
    assert verdict_of(0.1, 0.2, higher_is_better=False) == "worse"
    assert verdict_of(-0.2, -0.1, higher_is_better=False) == "better"
    assert verdict_of(-0.2, -0.1, higher_is_better=True) == "worse"
    assert verdict_of(-0.1, 0.1, higher_is_better=True) == "undecided"
    assert verdict_of(0.0, 0.1, higher_is_better=True) == "undecided"


def test_different_examples_are_not_paired(store: RunStore) -> None:
    runs = [store.open(inpaint_spec(sampler)) for sampler in ("ode", "sde")]
    for i, run in enumerate(runs):
        add_numbered(run, 4, first=i)
        add_score(run, "psnr", 20.0)
    a, b = (load_result(run) for run in runs)
    assert a
    assert b
    assert "different examples" in str(difference_cell([a], [b], "psnr"))


def test_the_notes_count_the_cut_prompts_of_all_runs(store: RunStore) -> None:
    def run(seed: int, *cut: str) -> RunResult:
        return load_finished(finished_run(store, make_spec(seed=seed), {}, n=4, cut=cut))

    assert not any("cut" in note for note in settings_notes([run(0), run(1)]))
    *_, note = settings_notes([run(2, "000"), run(3, "001"), run(4, "000", "003"), run(0)])
    assert note == (
        "Prompts longer than the text encoder reads, cut at its limit: 1 of 4 images in each of 2 "
        "runs, 2 of 4 images in one run."
    )


def test_one_example_has_no_interval_and_decides_nothing(store: RunStore) -> None:
    runs = [store.open(inpaint_spec(sampler)) for sampler in ("sde", "ode")]
    for run, value in zip(runs, (25.0, 20.0), strict=True):
        add_numbered(run, 1)
        add_score(run, "psnr", value)
    ours, theirs = map(load_finished, runs)
    assert difference_cell([ours], [theirs], "psnr") == Cell(
        5.0,
        n=1,
        of=N,
        runs=(ours.id, theirs.id),
        verdict="undecided",
        pointwise="undecided",
    )
    assert score_cell(ours, "psnr") == Cell(25.0, n=1, of=N, runs=(ours.id,))
