"""Summaries of chosen runs, and the list of all."""

from __future__ import annotations

import dataclasses

import pytest

from sde_edit.api.spec import ComponentSpec
from sde_edit.errors import UserError
from sde_edit.report.formats import from_json, markdown, to_json
from sde_edit.report.summary import runs_table, summary_table
from sde_edit.report.table import transposed
from sde_edit.store.runs import RunStore
from tests.builders import add_score
from tests.unit.report.inpainting import Fill, N, add_numbered, inpaint_spec


def test_summary_table_shows_scores_and_costs(store: RunStore, fill: Fill) -> None:
    runs = fill()
    table = summary_table([runs["ode", "small", 25], runs["sde", "small", 25]])
    headings = [column.label for column in table.columns]
    assert headings == ["psnr ↑", "shapes_fid ↓", "seconds/image", "evaluations/image"]
    assert [row.label for row in table.blocks[0].rows] == ["ode", "sde"]
    assert [cell.value for cell in table.blocks[0].rows[1].cells] == [21.5, 8.5, 0.25, 50.0]
    text = markdown(table)
    assert "8.50 [8.00, 9.00]" in text
    assert "0.25" in text
    assert "n = 8" in text
    assert "cpu" in text
    assert from_json(to_json(table)) == table


def test_summary_table_tells_runs_of_one_sampler_apart(store: RunStore, fill: Fill) -> None:
    runs = fill()
    chosen = [runs["sde", "small", 25], runs["sde", "large", 50]]
    labels = [row.label for row in summary_table(chosen, ["psnr"]).blocks[0].rows]
    assert labels == ["sde data.masks=small steps=25", "sde data.masks=large steps=50"]


def test_summary_table_tells_runs_apart_by_a_setting_of_their_sampler(store: RunStore) -> None:
    samplers = [
        ComponentSpec("bdia", "bdia", 1, {"gamma": 0.5}),
        ComponentSpec("bdia", "bdia", 1, {"gamma": 1.0}),
        ComponentSpec("ode", "ddim", 1),
    ]
    runs = [store.open(dataclasses.replace(inpaint_spec(), sampler=choice)) for choice in samplers]
    for run in runs:
        add_numbered(run, N)
        add_score(run, "psnr", 20.0)
    labels = [row.label for row in summary_table(runs, ["psnr"]).blocks[0].rows]
    assert labels == ["bdia sampler.gamma=0.5", "bdia sampler.gamma=1.0", "ode"]


def test_summary_table_refuses_an_unfinished_run(store: RunStore) -> None:
    run = store.open(inpaint_spec())
    add_numbered(run, 2, seal=False)
    with pytest.raises(UserError, match=f"run {run.id} is not finished"):
        summary_table([run])


def test_summary_table_transposed_is_narrow_and_says_the_same(store: RunStore, fill: Fill) -> None:
    runs = fill()
    table = summary_table([runs["ode", "small", 25], runs["sde", "small", 25]])
    turned = transposed(table)
    assert [column.label for column in turned.columns] == ["ode", "sde"]
    assert [row.label for row in turned.blocks[0].rows] == [c.label for c in table.columns]
    assert transposed(turned).blocks == table.blocks


def test_summary_table_needs_a_run() -> None:
    with pytest.raises(UserError, match="no runs"):
        summary_table([])


def test_runs_table_lists_every_run(store: RunStore, fill: Fill) -> None:
    (fill()[("ode", "small", 25)].path / "SEALED").unlink()
    partial = store.open(inpaint_spec("ode", "small", 25, seed=3))
    add_numbered(partial, 3)
    store.open(inpaint_spec("ode", "small", 25, seed=4))
    table = runs_table(store)
    found = {r.label: [c.text for c in r.cells] for r in table.blocks[0].rows}
    assert len(found) == 14
    assert found[partial.id][5:7] == ["3 of 8", "partial"]
    assert sorted(cells[6] for cells in found.values())[:2] == ["begun", "begun"]
    assert partial.id in markdown(table)


def test_runs_table_of_an_empty_store(store: RunStore) -> None:
    assert "run" in markdown(runs_table(store))
