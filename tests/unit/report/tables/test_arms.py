"""Tables of arms, made of synthetic runs: grids, NFE, averages, identity, costs, errors."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest

from sde_edit.commands.power import power_table
from sde_edit.commands.table import build_table
from sde_edit.config import table_grids
from sde_edit.errors import UserError
from sde_edit.overrides import expand
from sde_edit.report.formats import from_json, markdown, to_csv, to_json
from sde_edit.report.latex import latex
from sde_edit.report.table import tally
from sde_edit.store.files import write_atomic
from sde_edit.store.runs import RunStore
from tests.builders import add_score, finished_run, make_spec
from tests.unit.report.inpainting import Fill, config

N = 6
ODE = {"label": "ODE", "set": {"sampler": "ode"}}
NFE = {
    "name": "t",
    "kind": "arms",
    "title": "T",
    "runs": {"task": ["sample"], "steps": [10, 20]},
    "arms": [
        {"label": "DDIM", "set": {"sampler": "ode"}},
        {"label": "EDICT", "set": {"sampler": "edict", "steps": [5, 10]}},
        {"label": "half", "set": {"sampler": "bdia", "sampler.gamma": 0.5}},
    ],
    "column": "nfe",
    "baseline": "DDIM",
}
DTYPES = {
    "name": "t",
    "kind": "arms",
    "title": "T",
    "runs": {"task": ["sample"], "steps": [10], "dtype": ["float32", "float64"]},
    "arms": [
        {"label": "bound", "set": {"sampler": "none"}},
        {"label": "SDE", "set": {"sampler": "sde", "seed": [0, 1, 2]}, "same_as": "bound"},
    ],
    "column": "dtype",
    "average": "seed",
    "costs": ["evaluations", "calls"],
    "also": {"data.n": 6, "metrics": ["psnr", "ssim"]},
}


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path)


def add(store, value, *, n=N, pixels="same", calls=7, sampler="ode", guidance=3.0, **asked):
    """A sealed run with one score."""
    own = {key: asked.pop(key) for key in [*asked] if key not in ("steps", "dtype", "seed")}
    params = {"task_params": {"guidance": guidance}, "sampler_params": own}
    spec = make_spec(sampler, task="sample", **params, **asked)
    costs = {"seconds": 0.2, "evaluations": 20.0, "calls": calls}
    return finished_run(store, spec, {"fid": value}, n=n, of=N, pixels=pixels, **costs)


def line(table, block, label):
    found = [b for b in table.blocks if b.title == block]
    assert found, [b.title for b in table.blocks]
    (row,) = [r for r in found[0].rows if r.label == label]
    return {c.label: cell for c, cell in zip(table.columns, row.cells, strict=True)}


def fill_nfe(store):
    for steps, value in ((10, 9.0), (20, 7.0)):
        add(store, value, sampler="ode", steps=steps)
        add(store, value - 2, sampler="bdia", steps=steps, gamma=0.5)
        add(store, 99.0, sampler="bdia", steps=steps, gamma=1.0)  # of no arm
    for steps, value in ((5, 30.0), (10, 20.0)):
        add(store, value, sampler="edict", steps=steps)


def test_nfe_goes_across_where_an_arm_costs_double(store):
    fill_nfe(store)
    table = build_table(NFE, store.runs())
    assert table.corner == "NFE"
    assert [column.label for column in table.columns] == ["10", "20"]
    assert [cell.value for cell in line(table, "fid", "EDICT").values()] == [30.0, 20.0]
    assert [cell.value for cell in line(table, "fid", "half").values()] == [7.0, 5.0]
    difference = line(table, "fid", "half \N{MINUS SIGN} DDIM")["10"]
    assert (difference.value, difference.verdict) == (-2.0, "better")
    assert line(table, "fid", "EDICT \N{MINUS SIGN} DDIM")["20"].verdict == "worse"


def test_a_group_is_named_by_its_value_and_its_key(store):
    """As `small masks`, but a number comes last."""
    fill_nfe(store)
    by_steps = NFE | {"runs": {"task": ["sample"], "steps": [10, 20], "seed": [0]}}
    by_steps |= {"arms": NFE["arms"][:1], "column": "seed"}
    found = build_table(by_steps | {"group": "steps"}, store.runs()).columns
    assert [column.group for column in found] == ["steps 10", "steps 20"]
    found = build_table(by_steps | {"group": "task", "column": "steps"}, store.runs()).columns
    assert [column.group for column in found] == ["sample task", "sample task"]


def test_nfe_counts_images_made_elsewhere_once_and_needs_a_sampler(store):
    fill_nfe(store)
    arms = [*NFE["arms"], {"label": "tool", "set": {"sampler": "external"}}]
    table = build_table(NFE | {"arms": arms}, store.runs())
    assert [column.label for column in table.columns] == ["10", "20"]
    with pytest.raises(UserError, match="'bare': NFE goes across"):
        build_table(NFE | {"arms": [*arms, {"label": "bare", "set": {}}]}, store.runs())


def test_a_table_of_costs_alone_names_what_they_were_paid_on(store):
    fill_nfe(store)
    cost = {"metrics": [], "costs": ["seconds"], "where": {"steps": 10}, "column": "steps"}
    paper = {
        "source": "s", "setting": "x", "values": {"seconds": {"DDIM": {"10": 3.06}}}, "higher": [],
    }  # fmt: skip
    config = NFE | cost | {"paper": paper}
    bare = build_table(config, store.runs())
    titles = ["seconds per image", "Published seconds per image, another experiment"]
    assert [block.title for block in bare.blocks] == titles
    assert not [note for note in bare.notes if note.startswith("Seconds")]
    for run in store.runs():
        facts = {
            "device": "cuda", "device_name": "A100", "threads": 4, "batch_size": 1,
            "compile": run.spec.sampler.name == "edict", "images": N,
        }  # fmt: skip
        write_atomic(run.path / "attempts" / "a.json", json.dumps(facts).encode())
        idle = facts | {"device_name": "of nobody", "images": 0}
        write_atomic(run.path / "attempts" / "b.json", json.dumps(idle).encode())
    (note,) = [n for n in build_table(config, store.runs()).notes if n.startswith("Seconds")]
    assert "cuda (A100), 4 threads, batches of 1;" in note
    assert "cuda (A100), 4 threads, batches of 1, compiled" in note
    assert "of nobody" not in note


def test_seeds_share_a_cell_and_equal_images_are_counted(store):
    for dtype in ("float32", "float64"):
        add(store, 1.0, sampler="none", steps=10, dtype=dtype)
        for seed, value in enumerate((4.0, 5.0, 9.0)):
            pixels = "other" if seed == 2 else "same"
            add(store, value, sampler="sde", steps=10, dtype=dtype, seed=seed, pixels=pixels)
    table = build_table(DTYPES, store.runs())
    cell = line(table, "fid", "SDE")["float64"]
    assert cell.value == pytest.approx(6.0)
    assert cell.low < 6.0 < cell.high
    assert len(cell.runs) == 3
    same = line(table, "images equal in every bit to those of bound", "SDE")["float32"]
    assert same.text == f"{2 * N} of {3 * N}"
    assert line(table, "network evaluations per image", "SDE")["float32"].value == 20.0
    assert line(table, "network calls, one after the other", "SDE")["float32"].value == 7.0
    assert f"{2 * N} of {3 * N}" in markdown(table)


def test_seeds_of_different_examples_share_no_cell(store):
    add(store, 4.0, sampler="sde", steps=10, seed=0)
    add(store, 4.0, sampler="sde", steps=10, seed=1, n=N - 1)
    with pytest.raises(UserError, match=r"hold different examples: .* data\.limit"):
        build_table(DTYPES, store.runs())


ONE_COLUMN = NFE | {
    "runs": {"task": ["sample"], "steps": [10]},
    "arms": [
        {"label": "DDIM", "set": {"sampler": "ode"}},
        {"label": "half", "set": {"sampler": "bdia", "sampler.gamma": 0.5}, "same_as": "DDIM"},
    ],
    "column": "steps",
    "costs": ["evaluations"],
    "paper": {"source": "s", "setting": "t", "values": {"kid": {"DDIM": {"10": 1.5}}}},
}


def lines_of(text):
    """The cells of every line of the Markdown tables."""
    piped = [line for line in text.splitlines() if line.startswith("|") and ":--" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in piped]


def test_one_column_is_read_a_line_per_arm_and_a_column_per_metric(store):
    add(store, 9.0, sampler="ode", steps=10)
    add(store, 7.0, sampler="bdia", steps=10, gamma=0.5, pixels="other")
    table = build_table(ONE_COLUMN, store.runs())
    text = markdown(table)
    heading, ddim, half, _, difference, _, paper, *_ = lines_of(text)
    assert heading == [
        "",
        "fid ↓",
        "images equal in every bit to those of DDIM ↑",
        "network evaluations per image ↓",
        "Published KID, another experiment ↓",
    ]
    assert ddim == ["DDIM", "9.00 [8.50, 9.50]", "—", "20", "—"]
    assert half == ["half", "7.00 [6.50, 7.50]", f"0 of {N}", "20", "—"]
    assert difference[0] == "half \N{MINUS SIGN} DDIM"
    assert difference[1].startswith("\N{MINUS SIGN}2")
    assert difference[1].endswith("**better**")
    assert difference[2:] == ["—", "—", "—"]
    assert paper == ["Paper DDIM", "—", "—", "—", "1.5"]
    assert "- fid: fid of the embedded encoder." in text
    assert "- steps: 10 in every line." in text
    assert f"measured on n = {N} images" in text
    assert all(run.id in text for run in store.runs())


def test_one_column_is_read_so_in_latex_and_stays_whole_in_csv_and_json(store):
    add(store, 9.0, sampler="ode", steps=10)
    add(store, 7.0, sampler="bdia", steps=10, gamma=0.5)
    table = build_table(ONE_COLUMN, store.runs())
    tex = latex(table)
    rows = [line for line in tex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {line.count(" & ") for line in rows} == {4}
    assert (
        r"half & \textbf{7.00}\,{\fontsize{7}{8}\selectfont [6.50, 7.50]} & 6 of 6 & 20 & ---"
        in tex
    )
    assert r"network \\ evaluations \\ per image \\ $\downarrow$\end{tabular}" in tex
    assert "% DDIM; 10: " in tex
    assert from_json(to_json(table)) == table
    read = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [(r["row"], r["value"]) for r in read if r["metric"] == "fid"][:1] == [("DDIM", "9.0")]


def test_one_n_for_all_cells_of_part_of_the_data_is_said_once(store):
    add(store, 9.0, sampler="ode", steps=10, n=N - 2)
    add(store, 7.0, sampler="bdia", steps=10, gamma=0.5, n=N - 2)
    text = markdown(build_table(ONE_COLUMN, store.runs()))
    assert text.count(f"{N - 2} of the data set's {N}") == 1
    assert "(n = " not in text


def test_differing_n_stands_in_the_cells(store):
    add(store, 9.0, sampler="ode", steps=10)
    add(store, 7.0, sampler="bdia", steps=10, gamma=0.5, n=N - 2)
    text = markdown(build_table(ONE_COLUMN, store.runs()))
    assert f"(n = {N - 2} of {N})" in text
    assert f"9.00 [8.50, 9.50] (n = {N})" in text


def test_many_metrics_in_one_line_go_into_parts_below_each_other(store):
    run = add(store, 9.0, sampler="ode", steps=10)
    (file,) = run.path.glob("metrics/*.json")
    for i in range(7):
        score = json.loads(file.read_text()) | {"metric": f"m{i}"}
        write_atomic(run.score_file(f"m{i}", 1, {}), json.dumps(score).encode())
    tex = latex(build_table(ONE_COLUMN, store.runs()))
    assert tex.count(r"\begin{table}") == 1
    assert tex.count(r"\toprule") == tex.count("\nhalf & ---") == 2
    assert [tex.count(f"m{i} ") for i in range(7)] == [1] * 7


def test_what_is_missing_is_a_dash_and_a_command(store):
    add(store, 1.0, sampler="none", steps=10)
    table = build_table(DTYPES, store.runs())
    assert line(table, "fid", "SDE")["float32"].value is None
    wanted = "sde-edit run task=sample steps=10 dtype=float64 sampler=none data.n=6"
    assert any(wanted in note for note in table.notes)
    with pytest.raises(UserError, match="no finished run for t"):
        build_table(DTYPES, [])


def test_runs_of_two_experiments_are_refused(store):
    for seed in (0, 5):
        add(store, 1.0, sampler="ode", steps=10, seed=seed)
    with pytest.raises(UserError, match="seed"):
        build_table(NFE, store.runs())


def test_arms_of_different_tasks_are_refused(store):
    add(store, 1.0, sampler="ode", steps=10)
    add(store, 1.0, sampler="bdia", steps=10, gamma=0.5, guidance=7.0)
    with pytest.raises(UserError, match=r"task\.guidance"):
        build_table(NFE, store.runs())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"baseline": "DDMI"}, "no arm is labelled 'DDMI'"),
        ({"metrics": ["fidd"]}, "no metric 'fidd'. Did you mean 'fid'?"),
        ({"primary": {"metrics": ["fid", "psnrr"]}}, "no metric 'psnrr'. Did you mean 'psnr'?"),
        ({"arms": [ODE | {"against": "ODE"}], "baseline": None}, "with itself"),
        ({"arms": [ODE | {"same_as": "ODE"}], "baseline": None}, "with itself"),
        (
            {
                "arms": [ODE | {"against": "B"}, ODE | {"label": "B", "against": "ODE"}],
                "baseline": None,
            },
            "it once",
        ),
        ({"runs": {"task": ["sample"], "steps": [10], "seed": [0, 1]}}, "several values of seed"),
        ({"colunm": "nfe"}, "colunm"),
        (
            {"paper": {"source": "s", "setting": "t", "values": {"fid": {"DDIM": [1.0]}}}},
            "an object",
        ),
    ],
)
def test_wrong_configs_are_refused(store, change, said):
    fill_nfe(store)
    with pytest.raises(UserError, match=said):
        build_table(NFE | change, store.runs())


def test_every_arm_has_its_own_grid():
    grids = table_grids(NFE)
    assert grids[1] == ["task=sample", "steps=5,10", "sampler=edict"]
    assert len(expand(grids[1])) == 2
    assert table_grids(DTYPES)[0][-2:] == ["data.n=6", "metrics=[psnr,ssim]"]


def test_a_setting_may_be_null(store):
    """As task.m, which then depends on the example: such runs are told from those with a number."""
    grid = NFE | {
        "runs": {"task": ["sample"], "steps": [10], "sampler.gamma": [None, 0.5]},
        "arms": [{"label": "BDIA", "set": {"sampler": "bdia"}}],
        "column": "sampler.gamma",
        "baseline": None,
    }
    assert table_grids(grid)[0][2] == "sampler.gamma=null,0.5"
    add(store, 4.0, sampler="bdia", steps=10, gamma=0.5)
    table = build_table(grid, store.runs())
    assert [cell.value for cell in line(table, "fid", "BDIA").values()] == [None, 4.0]
    assert any("sampler.gamma=null" in note for note in table.notes)
    add(store, 9.0, sampler="bdia", steps=10, gamma=None)
    table = build_table(grid, store.runs())
    assert {at: c.value for at, c in line(table, "fid", "BDIA").items()} == {
        "null": 9.0,
        "0.5": 4.0,
    }
    assert (
        build_table(grid | {"where": {"sampler.gamma": None}}, store.runs()).columns[0].label
        == "null"
    )


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


@pytest.mark.parametrize("name", ["table2", "table5"])
def test_shipped_configs_agree_with_themselves(name: str) -> None:
    raw = config(name)
    assert raw["name"] == name
    assert raw["figure"]["kind"] == "curves"
    assert [arm["set"]["sampler"] for arm in raw["arms"]] == raw["runs"]["sampler"]


PAIRS = {
    "name": "t",
    "kind": "arms",
    "title": "T",
    "runs": {"task": ["sample"], "steps": [10]},
    "arms": [
        {"label": "ODE", "set": {"sampler": "ode", "task.guidance": 1.0}},
        {"label": "SDE", "set": {"sampler": "sde", "task.guidance": 1.0}},
        {"label": "ODE at 7.5", "set": {"sampler": "ode", "task.guidance": 7.5}},
        {
            "label": "SDE at 7.5",
            "set": {"sampler": "sde", "task.guidance": 7.5},
            "against": "ODE at 7.5",
        },
    ],
    "column": "steps",
    "baseline": "ODE",
    "summary": True,
}


def add_pairs(store):
    for guidance, ode, sde in ((1.0, 20.0, 23.0), (7.5, 18.0, 17.0)):
        add(store, ode, steps=10, guidance=guidance)
        add(store, sde, steps=10, guidance=guidance, sampler="sde")


def test_each_pair_is_compared_within_itself(store):
    add_pairs(store)
    (block,) = build_table(PAIRS, store.runs()).blocks
    found = {row.label: row.cells[0] for row in block.rows if row.kind == "difference"}
    assert {label: cell.value for label, cell in found.items()} == {
        "SDE − ODE": 3.0,
        "SDE at 7.5 − ODE at 7.5": -1.0,
    }
    assert [cell.verdict for cell in found.values()] == ["worse", "better"]
    assert "SDE better than ODE in 0 of 1 cells, worse in 1" in block.summary
    assert "SDE at 7.5 better than ODE at 7.5 in 1 of 1" in block.summary
    alone = {**PAIRS, "baseline": None}
    (block,) = build_table(alone, store.runs()).blocks
    assert [row.label for row in block.rows if row.kind == "difference"] == [
        "SDE at 7.5 − ODE at 7.5"
    ]


def test_an_arm_may_be_compared_with_several(store):
    add_pairs(store)
    several = {**PAIRS["arms"][3], "against": ["ODE at 7.5", "SDE"]}
    (block,) = build_table({**PAIRS, "arms": [*PAIRS["arms"][:3], several]}, store.runs()).blocks
    found = {row.label: row.cells[0].value for row in block.rows if row.kind == "difference"}
    assert found == {"SDE at 7.5 − ODE at 7.5": -1.0, "SDE at 7.5 − SDE": -6.0}


def test_an_arm_is_compared_with_one_that_is_there(store):
    arms = [*PAIRS["arms"][:3], {**PAIRS["arms"][3], "against": "ODE at 8"}]
    with pytest.raises(UserError, match="no arm is labelled 'ODE at 8'"):
        build_table({**PAIRS, "arms": arms}, store.runs())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": "ODE"}, "two arms are labelled 'ODE'"),
        ({"against": "SDE at 7.5"}, "'SDE at 7.5' is compared with itself"),
    ],
)
def test_arms_that_cannot_be_told_apart_are_refused(store, change, said):
    arms = [*PAIRS["arms"][:3], {**PAIRS["arms"][3], **change}]
    with pytest.raises(UserError, match=said):
        build_table({**PAIRS, "arms": arms}, store.runs())


def test_published_numbers_stand_beside_the_arms_that_they_name(store):
    add_pairs(store)
    paper = {
        "source": "A paper",
        "setting": "guidance 7.5",
        "values": {"fid": {"ODE at 7.5": {"10": 20.5}}},
        "where": {"task.guidance": 7.5},
    }
    titles = [block.title for block in build_table({**PAIRS, "paper": paper}, store.runs()).blocks]
    assert titles == ["fid"]
    paper["values"] = {"fid": {"ODE": {"10": 20.5}}}
    titles = [block.title for block in build_table({**PAIRS, "paper": paper}, store.runs()).blocks]
    assert titles == ["fid", "Published FID, another experiment"]


# ------------------------------------------------------------------ families
def fill_family(store):
    """Metrics of 64 examples: decided by far, by its own interval alone, and not at all."""
    rng = np.random.default_rng(1)
    z_3N = rng.normal(size=(3, 64))
    z_3N = (z_3N - z_3N.mean(1, keepdims=True)) / z_3N.std(1, keepdims=True)
    ids = [f"{i:03d}" for i in range(64)]
    counts = rng.multinomial(64, np.full(64, 1 / 64), size=400)
    gains = {"psnr": 1.0 + z_3N[0], "ssim": 0.263 + z_3N[1], "lpips": 0.02 + z_3N[2]}
    for steps in (10, 20):
        for sampler in ("ode", "sde"):
            run = finished_run(store, make_spec(sampler, steps, task="sample"), {}, n=64)
            for metric in gains:
                values = np.full(64, 20.0) + (sampler == "sde") * gains[metric]
                add_score(
                    run,
                    metric,
                    float(values.mean()),
                    replicates=(counts @ values / 64).tolist(),
                    per_example=dict(zip(ids, values.tolist(), strict=True)),
                )


FAMILY = {
    "name": "t",
    "kind": "arms",
    "title": "T",
    "runs": {"task": ["sample"], "steps": [10, 20]},
    "arms": [
        {"label": "ODE", "set": {"sampler": "ode"}},
        {"label": "SDE", "set": {"sampler": "sde"}},
    ],
    "column": "steps",
    "baseline": "ODE",
}


def test_a_verdict_holds_over_the_family(store):
    """Of three metrics at two numbers of steps, which are equal and so cost nothing."""
    fill_family(store)
    table = build_table(FAMILY, store.runs())
    psnr, ssim = (line(table, metric, "SDE − ODE")["10"] for metric in ("psnr", "ssim"))
    assert (psnr.verdict, psnr.pointwise) == ("better", "better")
    assert (ssim.verdict, ssim.pointwise) == ("undecided", "better")
    assert ssim.p < 0.05 < ssim.adjusted
    assert ssim.suggested
    assert not psnr.suggested
    assert tally(table) == ("2 of 6 comparisons decided; 4 without the correction for their number")
    text = markdown(table)
    assert "°" in text
    assert "SDE − ODE" in text.partition("## Effect sizes")[2]
    assert r"$^{\circ}$" in latex(table)
    assert from_json(to_json(table)) == table


def test_primary_endpoints_are_a_family_of_their_own(store):
    fill_family(store)
    config = FAMILY | {"primary": {"metrics": ["ssim", "fid"]}}
    table = build_table(config, store.runs())
    ssim = line(table, "ssim", "SDE − ODE")["10"]
    assert (ssim.primary, ssim.verdict) == (True, "better")
    assert not line(table, "psnr", "SDE − ODE")["10"].primary
    notes = " ".join(table.notes)
    assert "Primary endpoints (ssim): 2 comparisons" in notes
    assert "Secondary (lpips, psnr): 4 comparisons" in notes
    assert "## ssim ↑ (primary)" in markdown(table)


def test_primary_endpoints_may_be_those_of_some_arms(store):
    fill_family(store)
    config = FAMILY | {"primary": {"metrics": ["ssim"], "arms": ["SDE"]}}
    assert line(build_table(config, store.runs()), "ssim", "SDE − ODE")["10"].primary
    again = {"label": "SDE again", "set": {"sampler": "sde"}}
    config = config | {"arms": [*FAMILY["arms"], again]}
    table = build_table(config, store.runs())
    assert not line(table, "ssim", "SDE again − ODE")["10"].primary
    assert "## ssim ↑ (primary: SDE − ODE)" in markdown(table)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"primary": {"metrics": ["ssim"], "arms": ["DDIM"]}}, "no arm is labelled 'DDIM'"),
        ({"primary": {"metrics": ["ssim"]}, "baseline": None}, "baseline is None"),
        ({"primary": {"metrics": ["ssim"], "arms": ["ODE"]}}, "baseline is ODE"),
    ],
)
def test_primary_endpoints_that_are_none_are_refused(store, changes, message):
    fill_family(store)
    with pytest.raises(UserError, match=message):
        build_table(FAMILY | changes, store.runs())


def test_a_note_says_that_no_primary_endpoint_was_measured(store):
    fill_family(store)
    table = build_table(FAMILY | {"primary": {"metrics": ["fid"]}}, store.runs())
    assert "None of the primary endpoints (fid) was measured." in table.notes
    assert not any(cell.primary for *_, cell in table.cells())


def test_effect_sizes_stand_beside_a_difference(store):
    fill_family(store)
    cell = line(build_table(FAMILY, store.runs()), "psnr", "SDE − ODE")["10"]
    assert cell.effect == pytest.approx(np.sqrt(63 / 64))  # 1 over the unbiased deviation
    assert 0.75 < cell.superiority < 0.95  # 0.84 for a normal distribution
    assert cell.detectable == pytest.approx(0.355, rel=0.1)


def test_power_is_of_the_variance_seen_so_far(store):
    fill_family(store)
    table = power_table(build_table(FAMILY, store.runs()))
    ssim = next(row for row in table.blocks[0].rows if row.label == "ssim")
    needed = ssim.cells[4].value
    assert needed == pytest.approx((2.8016 / 0.263) ** 2 + 1.92, rel=0.2)
    with pytest.raises(UserError, match="needs a baseline"):
        power_table(build_table(FAMILY | {"baseline": None}, store.runs()))
