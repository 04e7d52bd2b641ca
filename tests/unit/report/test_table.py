"""Tables made of synthetic runs: choice of runs, numbers, wording, forms, errors."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import sde_edit.report.formats as formats_module
import sde_edit.report.latex as latex_module
import sde_edit.report.table as table_module
from sde_edit.api.spec import ComponentSpec, RunSpec
from sde_edit.commands.table import build_table
from sde_edit.errors import UserError
from sde_edit.report.cells import difference_cell, score_cell, verdict_of
from sde_edit.report.results import load_finished, load_result
from sde_edit.report.selection import command, flatten
from sde_edit.report.summary import runs_table, summary_table
from sde_edit.report.table import Block, Cell, Column, Row, Table, number, with_common_decimals
from sde_edit.store.files import canonical, write_atomic
from sde_edit.store.runs import ImageRecord, Run, RunStore
from tests.builders import ROOT

CONF = ROOT / "conf" / "table"
N, B = 8, 200


def make_spec(
    sampler: str = "ode",
    masks: str = "small",
    steps: int = 25,
    *,
    guidance: float = 7.5,
    model: str = "shapes",
    data: str = "shapes",
    seed: int = 0,
) -> RunSpec:
    return RunSpec(
        task=ComponentSpec("inpaint", "inpaint", 1, {"guidance": guidance, "prompt": "a scene"}),
        sampler=ComponentSpec(sampler, sampler, 1),
        model=ComponentSpec(model, "diffusers", 1, {}, f"digest-of-{model}"),
        data=ComponentSpec(data, data, 1, {"masks": masks}, f"digest-{masks}"),
        steps=steps,
        spacing="leading",
        last_sigma="sigma_min",
        dtype="float32",
        seed=seed,
    )


def add_images(run: Run, n: int, of: int = N, *, first: int = 0, seal: bool = True) -> None:
    ids = [f"{i:03d}" for i in range(first, first + n)]
    rows = [
        ImageRecord(i, f"{i}.png", 3, f"hash-{run.id}-{i}", 0.25, 50.0, "cpu", "float32")
        for i in ids
    ]
    for row in rows:
        write_atomic(run.path / "outputs" / row.file, b"png")
    text = "".join(canonical(dataclasses.asdict(row)) + "\n" for row in rows)
    write_atomic(run.path / "rows" / "a.jsonl", text.encode())
    if seal:
        run.write_seal(ids, of)


def score_of(run: Run, metric: str, value: float, **changes: Any) -> dict[str, Any]:
    """A stored score; replicates share a common part, as paired resamplings do."""
    seal = run.seal
    assert seal
    common = np.random.default_rng(seal.n).normal(0, 0.3, B)
    own = np.random.default_rng(int(run.id, 16)).normal(0, 0.02, B)
    score = {
        "metric": metric, "kind": metric, "version": 1, "settings": {}, "seal": seal.digest,
        "convention": f"{metric} of the embedded encoder", "value": value, "low": value - 0.6,
        "high": value + 0.6, "n": seal.n, "replicates": list(value + 0.05 + common + own),
        "per_example": None, "higher_is_better": metric == "psnr", "seconds": 0.1,
    }  # fmt: skip
    return score | changes


def add_score(run: Run, metric: str, value: float, **changes: Any) -> None:
    text = json.dumps(score_of(run, metric, value, **changes))
    write_atomic(run.score_file(metric, 1, {}), text.encode())


VALUES = {
    (sampler, masks, steps): 10.0 + 5 * (masks == "large") - steps / 50 - (sampler == "sde") * gain
    for (masks, steps), gain in zip(
        product(("small", "large"), (25, 50, 100)), (1.0, 0.8, 0.7, 0.5, 0.0, -0.5), strict=True
    )
    for sampler in ("ode", "sde")
}


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path)


Fill = Callable[..., dict[tuple[str, str, int], Run]]


@pytest.fixture
def fill(store: RunStore) -> Fill:
    """Makes the twelve runs of Table 2, apart from `skip`, with two metrics."""

    def make(skip: tuple[tuple[str, str, int], ...] = (), **spec: Any) -> dict[Any, Run]:
        made = {}
        for place, value in VALUES.items():
            if place in skip:
                continue
            run = store.open(make_spec(*place, **spec))
            add_images(run, N)
            add_score(run, "psnr", 30 - value)
            add_score(run, "shapes_fid", value)
            made[place] = run
        return made

    return make


def config(name: str = "table2", **changes: Any) -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    return raw | changes


def row_of(table: Table, block: str, label: str) -> Mapping[str, Cell]:
    rows = [r for b in table.blocks if b.title == block for r in b.rows if r.label == label]
    assert len(rows) == 1
    return {c.heading: cell for c, cell in zip(table.columns, rows[0].cells, strict=True)}


# ------------------------------------------------------------------ numbers


def test_cells_hold_the_stored_numbers(store: RunStore, fill: Fill) -> None:
    runs = fill()
    table = build_table(config(), store.runs())
    for (sampler, masks, steps), value in VALUES.items():
        row = row_of(table, "shapes_fid", f"Inpaint-{sampler.upper()}")
        cell = row[f"{masks} masks, {steps}"]
        assert (cell.value, cell.low, cell.high) == (value, value - 0.6, value + 0.6)
        assert (cell.n, cell.of, cell.runs) == (N, N, (runs[sampler, masks, steps].id,))


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


def test_summary_counts_the_verdicts(store: RunStore, fill: Fill) -> None:
    fill()
    table = build_table(config(), store.runs())
    text = "SDE better in 4 of 6 cells, worse in 1, undecided in 1 (95 % paired bootstrap)."
    assert [b.summary for b in table.blocks[:2]] == [text, text]  # psnr mirrors shapes_fid


def test_metrics_can_be_chosen_and_ordered(store: RunStore, fill: Fill) -> None:
    fill()
    table = build_table(config(metrics=["shapes_fid", "psnr"], paper=None), store.runs())
    assert [b.title for b in table.blocks] == ["shapes_fid", "psnr"]


def test_decimals_follow_the_interval() -> None:
    assert with_common_decimals([Cell(1.0, 0.987, 1.013)])[0].decimals == 3
    assert with_common_decimals([Cell(1.0, 0.6, 1.4)])[0].decimals == 2
    assert with_common_decimals([Cell(100.0, 70.0, 130.0)])[0].decimals == 0
    assert {c.decimals for c in with_common_decimals([Cell(17.73), Cell(17.5)])} == {2}
    assert with_common_decimals([Cell(0.21345678)])[0].decimals == 4
    assert with_common_decimals([Cell(50.0)])[0].decimals == 0
    assert with_common_decimals([Cell()])[0].decimals == 0


def test_numbers_have_a_true_minus_and_no_negative_zero() -> None:
    assert number(-1.25, 1) == "\N{MINUS SIGN}1.2"
    assert number(-0.001, 2) == "0.00"


# ------------------------------------------------------------------ the paper's rows


def test_published_numbers_are_set_apart_from_other_experiments(
    store: RunStore, fill: Fill
) -> None:
    fill()
    table = build_table(config(), store.runs())
    titles = [block.title for block in table.blocks]
    assert titles[2:] == [
        "Published FID, another experiment",
        "Published LPIPS, another experiment",
    ]
    row = row_of(table, titles[2], "Paper Inpaint-SDE")
    assert row["large masks, 50"].value == 15.48
    assert row["large masks, 50"].low is None
    assert "17.50" in formats_module.markdown(table)
    assert all("Paper" not in r.label for b in table.blocks[:2] for r in b.rows)


def test_published_numbers_stand_beside_the_same_experiment(store: RunStore) -> None:
    for place, value in VALUES.items():
        run = store.open(make_spec(*place, model="sd15", data="places"))
        add_images(run, N)
        add_score(run, "fid", value)
    table = build_table(config(), store.runs())
    assert [row.label for row in table.blocks[0].rows] == [
        "Inpaint-ODE", "Inpaint-SDE", "SDE − ODE", "Paper Inpaint-ODE", "Paper Inpaint-SDE",
    ]  # fmt: skip
    assert [block.title for block in table.blocks] == ["fid", "Published LPIPS, another experiment"]


def test_table5_says_that_published_values_are_not_available(store: RunStore) -> None:
    for sampler, masks in product(("ode2", "sde2"), ("small", "large")):
        run = store.open(make_spec(sampler, masks, 25))
        add_images(run, N)
        add_score(run, "shapes_fid", 3.0)
    table = build_table(config("table5"), store.runs())
    assert any("not available" in note for note in table.notes)
    assert not any(row.kind == "paper" for block in table.blocks for row in block.rows)
    assert table.blocks[0].summary.endswith("; 4 not compared.")


# ------------------------------------------------------------------ what is missing or partial


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
    assert table_module.MISSING in formats_module.markdown(table)


def test_unsealed_run_does_not_count(store: RunStore, fill: Fill) -> None:
    (fill()[("ode", "small", 25)].path / "SEALED").unlink()
    table = build_table(config(), store.runs())
    assert row_of(table, "shapes_fid", "Inpaint-ODE")["small masks, 25"].value is None
    assert any("begun, not finished" in note for note in table.notes)


def test_missing_score_names_the_metric_and_the_command(store: RunStore, fill: Fill) -> None:
    run = fill()[("ode", "small", 25)]
    run.score_file("psnr", 1, {}).unlink()
    notes = build_table(config(), store.runs()).notes
    assert any(f"run {run.id} lacks psnr" in n and "sde-edit evaluate" in n for n in notes)


def test_partial_run_shows_its_n_and_is_not_paired(store: RunStore, fill: Fill) -> None:
    run = fill(skip=(("ode", "small", 25),)) and store.open(make_spec("ode", "small", 25))
    add_images(run, 5)
    add_score(run, "shapes_fid", 9.5)
    table = build_table(config(metrics=["shapes_fid"]), store.runs())
    text = formats_module.markdown(table)
    assert "(n = 5 of 8)" in text
    assert "(n = 8)" in text
    assert "(n = 5 of 8)" in latex_module.latex(table)
    assert row_of(table, "shapes_fid", "SDE − ODE")["small masks, 25"].value is None
    assert any("different examples" in note for note in table.notes)


def test_full_runs_of_one_size_state_n_once(store: RunStore, fill: Fill) -> None:
    fill()
    text = formats_module.markdown(build_table(config(), store.runs()))
    assert text.count("n = 8") == 1


def test_different_examples_are_not_paired(store: RunStore) -> None:
    runs = [store.open(make_spec(sampler)) for sampler in ("ode", "sde")]
    for i, run in enumerate(runs):
        add_images(run, 4, first=i)
        add_score(run, "psnr", 20.0)
    a, b = (load_result(run) for run in runs)
    assert a
    assert b
    assert "different examples" in str(difference_cell([a], [b], "psnr"))


# ------------------------------------------------------------------ refusals


def test_two_experiments_are_refused_and_where_chooses(store: RunStore, fill: Fill) -> None:
    fill()
    other = store.open(make_spec("ode", "small", 25, guidance=3.0))
    add_images(other, N)
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
    other = store.open(make_spec("ode", "small", 25, seed=1))
    add_images(other, N)
    with pytest.raises(UserError, match=f"seed: .*{other.id}"):
        build_table(config(), store.runs())


def test_arms_that_differ_in_what_goes_across_are_refused(store: RunStore) -> None:
    """Data may follow from the masks; for equal masks it must be the same in both arms."""
    for sampler, data in (("ode", "shapes"), ("sde", "places")):
        add_images(store.open(make_spec(sampler, data=data)), N)
    with pytest.raises(UserError, match="data: "):
        build_table(config(), store.runs())


def test_runs_without_scores_name_the_command(store: RunStore) -> None:
    add_images(store.open(make_spec("ode")), N)
    with pytest.raises(UserError, match=r"no scores.*sde-edit evaluate task=inpaint sampler=ode"):
        build_table(config(), store.runs())


def test_another_model_is_named_once(store: RunStore, fill: Fill) -> None:
    fill()
    fill(model="sd15")
    with pytest.raises(UserError) as error:
        build_table(config(), store.runs())
    assert "model:" in str(error.value)
    assert "model.digest" not in str(error.value)
    assert build_table(config(where={"model": "sd15"}), store.runs())


@pytest.mark.parametrize("changes", [{"value": float("nan")}, {"high": float("inf")}])
def test_a_number_that_is_not_finite_is_an_error(
    store: RunStore, fill: Fill, changes: dict[str, float]
) -> None:
    run = fill()[("sde", "small", 50)]
    broken = json.dumps(score_of(run, "psnr", 20.0) | changes)
    write_atomic(run.score_file("psnr", 1, {}), broken.encode())
    with pytest.raises(UserError, match=f"{run.id}: psnr is not finite"):
        build_table(config(), store.runs())


def test_a_run_with_lost_images_is_named_and_left_out(
    store: RunStore, fill: Fill, caplog: pytest.LogCaptureFixture
) -> None:
    run = fill()["sde", "small", 50]
    (run.path / "outputs" / "003.png").unlink()
    with pytest.raises(UserError, match=f"{run.id} was sealed with 8 images, 7 of them"):
        load_finished(run)
    table = build_table(config(), store.runs())
    assert f"{run.id} was sealed with 8 images, 7 of them" in caplog.text
    assert any("begun, not finished" in note for note in table.notes)
    assert run.id not in formats_module.to_json(table)


def test_conventions_must_agree(store: RunStore, fill: Fill) -> None:
    run = fill()[("sde", "small", 50)]
    add_score(run, "psnr", 20.0, convention="another window")
    with pytest.raises(UserError, match=r"psnr was measured by different conventions"):
        build_table(config(), store.runs())


def test_no_run_at_all_names_the_first_command(store: RunStore) -> None:
    with pytest.raises(UserError, match=r"no finished run for table2.*sde-edit run task=inpaint"):
        build_table(config(), store.runs())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wher": {}}, "Did you mean 'where'"),
        ({"where": {"task.guidnce": 7.5}}, "Did you mean 'task.guidance'"),
        ({"baseline": "Inpaint-ODE2"}, "no arm is labelled 'Inpaint-ODE2'"),
        ({"arms": ["ode"]}, "arms"),
        ({"runs": {"sampler": ["ode", "sde"]}}, "must give 'data.masks'"),
    ],
)
def test_wrong_settings_are_refused(
    store: RunStore, fill: Fill, changes: dict[str, Any], message: str
) -> None:
    fill()
    with pytest.raises(UserError, match=message):
        build_table(config(**changes), store.runs())


def test_a_swept_extra_key_is_refused(store: RunStore, fill: Fill) -> None:
    fill()
    grid = config()["runs"] | {"task.guidance": [3.0, 7.5]}
    with pytest.raises(UserError, match=r"several values of task\.guidance"):
        build_table(config(runs=grid), store.runs())


def test_specs_are_addressed_like_overrides() -> None:
    flat = flatten(make_spec("sde", "large", 50))
    assert flat["task"] == "inpaint"
    assert flat["task.guidance"] == 7.5
    assert flat["data.masks"] == "large"
    assert flat["steps"] == 50
    assert flat["model.digest"] == "digest-of-shapes"
    assert flat["grid.last_sigma"] == "sigma_min"


def test_commands_are_quoted_and_hold_overrides_only() -> None:
    overrides = {"task": "inpaint", "task.prompt": "a scene", "model.digest": "abc"}
    assert command("run", overrides) == "sde-edit run task=inpaint 'task.prompt=a scene'"


# ------------------------------------------------------------------ forms


@pytest.fixture
def table(store: RunStore, fill: Fill) -> Table:
    fill(skip=(("sde", "large", 100),))
    return build_table(config(), store.runs())


def test_json_reads_back_equal(table: Table) -> None:
    assert formats_module.from_json(formats_module.to_json(table)) == table


def test_csv_holds_every_cell_unrounded(table: Table) -> None:
    lines = list(csv.DictReader(io.StringIO(formats_module.to_csv(table))))
    cells = list(table.cells())
    assert len(lines) == len(cells)
    for line, (block, row, column, cell) in zip(lines, cells, strict=True):
        place = (line["metric"], line["row"], line["group"], line["column"])
        assert place == (block.title, row.label, column.group, column.label)
        assert (float(line["value"]) if line["value"] else None) == cell.value
        assert tuple(line["runs"].split()) == cell.runs
        assert line["verdict"] == cell.verdict


def test_markdown_is_traceable(table: Table) -> None:
    text = formats_module.markdown(table)
    ids = {i for *_, cell in table.cells() for i in cell.runs}
    assert all(f"`{i}`" in text for i in ids)
    for fact in ("psnr of the embedded encoder", "guidance 7.5", "float32", "leading", "sigma_min",
                 "digest-of-sh", "seed 0", "psnr ↑", "shapes_fid ↓", "**better**"):  # fmt: skip
        assert fact in text
    assert not any(line.count("|") not in (0, 8) for line in text.splitlines())


def _tex_rows(text: str) -> Iterator[str]:
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    return (line for line in body.splitlines() if line.endswith(r"\\"))


def test_latex_is_balanced_and_escaped(table: Table) -> None:
    text = latex_module.latex(table)
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    spans = [line for line in _tex_rows(text) if "multicolumn{7}" not in line and "{3}" not in line]
    assert spans
    assert all(line.count(" & ") == 6 for line in spans)
    assert r"shapes\_fid" in text
    assert "shapes_fid" not in text
    assert "95 %" not in text
    assert r"95 \%" in text
    assert r"\texttt{sde-edit run task=inpaint" in text
    outside_comments = [line for line in text.splitlines() if not line.startswith("%")]
    assert "".join(outside_comments).isascii()


def test_latex_escapes_every_special_letter() -> None:
    assert latex_module.tex_escape("50 % & a_b #1 $x {y} ~ ^ \\") == (
        r"50 \% \& a\_b \#1 \$x \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert latex_module.tex_escape("run `a_b`") == r"run \texttt{a\_b}"


def test_markdown_escapes_pipes() -> None:
    row = Row("a|b", "arm", (Cell(text="c|d"),))
    text = formats_module.markdown(Table("t", "", "x", (Column("", "y"),), (Block("", (row,)),)))
    assert "a\\|b" in text
    assert "c\\|d" in text


def test_write_makes_four_files_the_same_each_time(table: Table, tmp_path: Path) -> None:
    first = formats_module.write(table, tmp_path / "a")
    second = formats_module.write(table, tmp_path / "b")
    assert [p.name for p in first] == ["table2.md", "table2.csv", "table2.tex", "table2.json"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_order_of_the_runs_does_not_matter(store: RunStore, fill: Fill) -> None:
    fill()
    forward, backward = store.runs(), store.runs()[::-1]
    tables = [build_table(config(), runs) for runs in (forward, backward)]
    assert formats_module.to_json(tables[0]) == formats_module.to_json(tables[1])


# ------------------------------------------------------------------ summaries and lists


def test_summary_table_shows_scores_and_costs(store: RunStore, fill: Fill) -> None:
    runs = fill()
    table = summary_table([runs["ode", "small", 25], runs["sde", "small", 25]])
    headings = [column.label for column in table.columns]
    assert headings == ["psnr ↑", "shapes_fid ↓", "seconds/image", "evaluations/image"]
    assert [row.label for row in table.blocks[0].rows] == ["ode", "sde"]
    assert [cell.value for cell in table.blocks[0].rows[1].cells] == [21.5, 8.5, 0.25, 50.0]
    text = formats_module.markdown(table)
    assert "8.50 [7.90, 9.10]" in text
    assert "0.25" in text
    assert "n = 8" in text
    assert "cpu" in text
    assert formats_module.from_json(formats_module.to_json(table)) == table


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
    runs = [store.open(dataclasses.replace(make_spec(), sampler=choice)) for choice in samplers]
    for run in runs:
        add_images(run, N)
        add_score(run, "psnr", 20.0)
    labels = [row.label for row in summary_table(runs, ["psnr"]).blocks[0].rows]
    assert labels == ["bdia sampler.gamma=0.5", "bdia sampler.gamma=1.0", "ode"]


def test_one_example_has_no_interval_and_decides_nothing(store: RunStore) -> None:
    runs = [store.open(make_spec(sampler)) for sampler in ("sde", "ode")]
    for run, value in zip(runs, (25.0, 20.0), strict=True):
        add_images(run, 1)
        add_score(run, "psnr", value)
    ours, theirs = map(load_finished, runs)
    assert difference_cell([ours], [theirs], "psnr") == Cell(
        5.0, n=1, of=N, runs=(ours.id, theirs.id), verdict="undecided"
    )
    assert score_cell(ours, "psnr") == Cell(25.0, n=1, of=N, runs=(ours.id,))


def test_summary_table_refuses_an_unfinished_run(store: RunStore) -> None:
    run = store.open(make_spec())
    add_images(run, 2, seal=False)
    with pytest.raises(UserError, match=f"run {run.id} is not finished"):
        summary_table([run])


def test_summary_table_transposed_is_narrow_and_says_the_same(store: RunStore, fill: Fill) -> None:
    runs = fill()
    table = summary_table([runs["ode", "small", 25], runs["sde", "small", 25]])
    turned = table_module.transposed(table)
    assert [column.label for column in turned.columns] == ["ode", "sde"]
    assert [row.label for row in turned.blocks[0].rows] == [c.label for c in table.columns]
    assert table_module.transposed(turned).blocks == table.blocks


def test_summary_table_needs_a_run() -> None:
    with pytest.raises(UserError, match="no runs"):
        summary_table([])


def test_runs_table_lists_every_run(store: RunStore, fill: Fill) -> None:
    (fill()[("ode", "small", 25)].path / "SEALED").unlink()
    partial = store.open(make_spec("ode", "small", 25, seed=3))
    add_images(partial, 3)
    store.open(make_spec("ode", "small", 25, seed=4))
    table = runs_table(store)
    found = {r.label: [c.text for c in r.cells] for r in table.blocks[0].rows}
    assert len(found) == 14
    assert found[partial.id][5:7] == ["3 of 8", "partial"]
    assert sorted(cells[6] for cells in found.values())[:2] == ["begun", "begun"]
    assert partial.id in formats_module.markdown(table)


def test_runs_table_of_an_empty_store(store: RunStore) -> None:
    assert "run" in formats_module.markdown(runs_table(store))


# ------------------------------------------------------------------ configs


@pytest.mark.parametrize("name", ["table2", "table5"])
def test_shipped_configs_agree_with_themselves(name: str) -> None:
    raw = config(name)
    assert raw["name"] == name
    assert raw["figure"]["kind"] == "curves"
    assert [arm["set"]["sampler"] for arm in raw["arms"]] == raw["runs"]["sampler"]
