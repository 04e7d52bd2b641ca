"""Verdicts on differences, and which differences are rounding."""

import pytest

from sde_edit.report.cells import difference_cell, is_rounding
from sde_edit.report.results import load_finished
from sde_edit.store.runs import RunStore
from tests.builders import add_images, add_score, make_spec

REPLICATES = [0.3 + 0.001 * (k % 7) for k in range(100)]


@pytest.fixture
def verdict(tmp_path):
    """The verdict on two runs whose scores, and all their replicates, differ by `gap`."""

    def of(gap, value=0.3):
        store, results = RunStore(tmp_path), []
        for sampler, shift in (("ode", 0.0), ("sde", gap)):
            run = store.open(make_spec(sampler))
            add_images(run, ["a", "b"], pixels="same")
            moved = [value - 0.3 + replicate + shift for replicate in REPLICATES]
            add_score(run, "lpips", value + shift, replicates=moved)
            results.append(load_finished(run))
        return difference_cell(results[1:], results[:1], "lpips").verdict

    return of


@pytest.mark.parametrize("gap", [1e-6, -1e-6, 3e-8, 0.0])
def test_a_difference_of_rounding_has_no_verdict(verdict, gap):
    """As between a run and its own images brought in from outside, in batches of another size."""
    assert verdict(gap) == "undecided"


@pytest.mark.parametrize(("gap", "expected"), [(1e-4, "worse"), (-1e-4, "better"), (1e-5, "worse")])
def test_a_larger_difference_has_one(verdict, gap, expected):
    assert verdict(gap) == expected


def test_rounding_is_relative_to_the_value():
    assert is_rounding(30.0, 30.0003)
    assert not is_rounding(0.3, 0.3003)
    assert is_rounding(0.0, 0.0)
    assert not is_rounding(0.0, 1e-9)
