"""The scores of a few runs beside each other, and their differences to the first."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from sde_edit.api.spec import ComponentSpec
from sde_edit.errors import UserError
from sde_edit.report.formats import from_json, markdown, to_json
from sde_edit.report.results import RunResult, load_finished
from sde_edit.report.summary import Peers, background, labels_of, summary_table
from sde_edit.report.table import Table
from sde_edit.store.runs import Run, RunStore
from tests.builders import add_score, finished_run
from tests.unit.report.inpainting import Fill, N, add_numbered, inpaint_spec


def alike(runs: Sequence[Run]) -> Peers:
    """Runs over the same examples."""
    results = [[load_finished(run)] for run in runs]
    return Peers(results, results)


def lines(table: Table) -> dict[tuple[str, str], list[str]]:
    """(metric, run) -> the texts behind them in Markdown."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in markdown(table).splitlines()
        if line.startswith("| ")
    ]
    return {(metric, run): rest for metric, run, *rest in cells[1:]}


def test_one_run_has_scores_n_and_costs(store: RunStore, fill: Fill) -> None:
    table = summary_table([alike([fill()["sde", "small", 25]])])
    assert [column.label for column in table.columns] == ["run", "value", "n"]
    assert lines(table) == {
        ("psnr ↑", "sde"): ["21.50 [21.00, 22.00]", "8 of 8"],
        ("shapes_fid ↓", "sde"): ["8.50 [8.00, 9.00]", "8 of 8"],
        ("seconds/image", "sde"): ["0.25", "8 of 8"],
        ("evaluations/image", "sde"): ["50", "8 of 8"],
    }
    assert from_json(to_json(table)) == table


def test_further_runs_have_their_difference_to_the_first_and_a_verdict(
    store: RunStore, fill: Fill
) -> None:
    runs = fill()
    table = summary_table([alike([runs[s, "small", 25] for s in ("ode", "sde")])])
    assert [column.label for column in table.columns][-3:-1] == ["− ode", "verdict"]
    found = lines(table)
    assert found["psnr ↑", "ode"][2:] == ["", "", ""]
    assert found["psnr ↑", "sde"][2].startswith("1.0")
    assert found["psnr ↑", "sde"][3] == "better"
    assert found["shapes_fid ↓", "sde"][2].startswith("−1.0")
    assert found["shapes_fid ↓", "sde"][3] == "better"
    assert found["seconds/image", "sde"][2:] == ["", "", ""]
    assert "paired over 8 examples\n" in markdown(table)
    turned = lines(summary_table([alike([runs[s, "small", 25] for s in ("sde", "ode")])]))
    assert turned["psnr ↑", "ode"][3] == "worse"


def test_each_group_of_runs_has_a_first_run_of_its_own(store: RunStore, fill: Fill) -> None:
    runs = fill()
    groups = [alike([runs[s, m, 25] for s in ("ode", "sde")]) for m in ("small", "large")]
    table = summary_table(groups)
    assert table.columns[-3].label == "− ode of the same settings"
    psnr = {run: cells[3] for (metric, run), cells in lines(table).items() if "psnr" in metric}
    assert list(psnr.values()) == ["", "better", "", "better"]


def test_a_metric_that_a_run_lacks_is_a_dash(store: RunStore) -> None:
    a = finished_run(store, inpaint_spec("ode"), {"psnr": 20.0})
    b = finished_run(store, inpaint_spec("sde"), {"psnr": 21.0, "ssim": 0.5})
    found = lines(summary_table([alike([a, b])]))
    assert found["ssim ↑", "ode"][:2] == ["—", "—"]
    assert found["ssim ↑", "sde"][2:] == ["", "", ""]


def test_why_there_is_no_difference_is_said(store: RunStore) -> None:
    a = finished_run(store, inpaint_spec("ode"), {"psnr": 20.0})
    b = finished_run(store, inpaint_spec("sde"), {})
    add_score(b, "psnr", 21.0, replicates=[20.0, 22.0])
    text = markdown(summary_table([alike([a, b])]))
    assert "psnr has no difference sde − ode:" in text
    assert "different numbers of bootstrap resamplings" in text


def test_the_background_says_all_that_the_numbers_rest_on(store: RunStore, fill: Fill) -> None:
    results = [load_finished(fill()[s, "small", 25]) for s in ("ode", "sde")]
    text = "\n".join(background(results))
    for words in ("psnr of the embedded", "guidance 7.5", "on cpu", f"sde `{results[1].id}`"):
        assert words in text


def labels(results: Sequence[RunResult]) -> list[str]:
    return list(labels_of(results).values())


def test_runs_of_one_sampler_are_told_apart(store: RunStore, fill: Fill) -> None:
    runs = fill()
    chosen = [runs["sde", "small", 25], runs["sde", "large", 50]]
    assert labels(list(map(load_finished, chosen))) == [
        "sde steps=25 data.masks=small",
        "sde steps=50 data.masks=large",
    ]


def test_runs_are_told_apart_by_a_setting_of_their_sampler(store: RunStore) -> None:
    samplers = [
        ComponentSpec("bdia", "bdia", 1, {"gamma": 0.5}),
        ComponentSpec("bdia", "bdia", 1, {"gamma": 1.0}),
        ComponentSpec("ode", "ddim", 1),
    ]
    runs = [store.open(dataclasses.replace(inpaint_spec(), sampler=choice)) for choice in samplers]
    for run in runs:
        add_numbered(run, N)
    wanted = ["bdia sampler.gamma=0.5", "bdia sampler.gamma=1.0", "ode"]
    assert labels(list(map(load_finished, runs))) == wanted


def test_a_setting_that_only_one_run_states_tells_it_apart(store: RunStore) -> None:
    """A spec leaves out some settings that have their default."""
    samplers = [ComponentSpec("ode", "ode", 1, given) for given in ({}, {"inversion_time": "end"})]
    runs = [store.open(dataclasses.replace(inpaint_spec(), sampler=choice)) for choice in samplers]
    for run in runs:
        add_numbered(run, N)
    wanted = ["ode", "ode sampler.inversion_time=end"]
    assert labels(list(map(load_finished, runs))) == wanted


def test_without_runs_there_is_no_table() -> None:
    with pytest.raises(UserError, match="no runs"):
        summary_table([])
