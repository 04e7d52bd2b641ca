"""What must not move by itself: run ids, and the bytes of tables.

Run ids of every table's grid and of every preset, and the four forms of tables made of made-up
runs, are kept beside this file. A change that is meant is written anew by

    python -m tests.contracts.test_golden

and has its own heading in CHANGELOG.md. Presets name weights and data sets that are not on every
machine: their digests are left out here.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import accumulate, chain
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from sde_edit.commands.table import build_table
from sde_edit.config import experiment, group_file, table_grids
from sde_edit.overrides import expand
from sde_edit.registry import kinds, names, plugin_class
from sde_edit.report.formats import from_json, markdown, to_csv, to_json
from sde_edit.report.latex import latex, latex_notes
from sde_edit.report.table import Table
from sde_edit.store.runs import RunStore, run_id
from tests.builders import ROOT, add_images, composed, finished_run, in_groups, make_spec

GOLDEN = Path(__file__).parent / "golden"
COMMITTED = ROOT / "results" / "tables"
FORMS = {
    ".md": markdown,
    ".csv": to_csv,
    ".tex": latex,
    "-notes.tex": latex_notes,
    ".json": to_json,
}
READ = {ending: FORMS[ending] for ending in (".md", ".tex", "-notes.tex")}
OF_RUNS = [name for name in names("table") if "runs" in group_file("table", name)]
NEEDED = {
    "sample_cifar10": ["data.images=i"],
    "sample_scribble_sd15": ["data.images=i"],
}


def grids_of(name: str) -> list[list[tuple[str, ...]]]:
    """The overrides of every run of a table, one list for each of its grids."""
    return [expand(grid) for grid in table_grids(group_file("table", name))]


def id_of(overrides: Sequence[str]) -> str:
    return run_id(experiment(overrides).spec)


def id_of_preset(name: str) -> str:
    """The run id of a preset with every digest left out, and the dtype of a GPU."""
    plugins = [plugin_class(group, k) for group in ("models", "datasets") for k in kinds(group)]
    with ExitStack() as stack:
        for plugin in plugins:
            stack.enter_context(patch.object(plugin, "digest", lambda self: ""))
        return run_id(experiment([f"experiment={name}", *NEEDED.get(name, [])], on_gpu=True).spec)


def run_ids() -> dict[str, Any]:
    return {
        "tables": {name: [[*map(id_of, grid)] for grid in grids_of(name)] for name in OF_RUNS},
        "experiments": {name: id_of_preset(name) for name in names("experiment")},
    }


# ------------------------------------------------------------------ tables of made-up runs

PLACES = [(masks, steps) for masks in ("small", "large") for steps in (25, 50, 100)]
GAINS = dict(zip(PLACES, (1.0, 0.4, 0.1, 0.5, 0.0, -0.5), strict=True))


def fill_inpainting(
    store: RunStore, arms: tuple[str, str], lacking: tuple[str, str, int] | None = None, **spec: Any
) -> None:
    """Two arms, the second ahead by a gain that differs from cell to cell; one run may lack."""
    for masks, steps in PLACES:
        for arm in arms:
            if (arm, masks, steps) == lacking:
                continue
            value = 10.0 + 5 * (masks == "large") - steps / 50
            value -= GAINS[masks, steps] * (arm == arms[1])
            asked = make_spec(arm, steps, data_params={"masks": masks}, **spec)
            scores = {"psnr": 30 - value, "fid": value, "lpips": value / 40}
            finished_run(store, asked, scores)


def one_pair(name: str) -> dict[str, Any]:
    """A table of inpainting with the first pair of its arms, which leave guidance open."""
    config = group_file("table", name)
    own = [remark for remark in config["remarks"] if "guidance" not in remark]
    return config | {"arms": config["arms"][:2], "remarks": own}


def inpainting(results: Path) -> Table:
    store = RunStore(results)
    fill_inpainting(store, ("ode", "sde"))
    return build_table(one_pair("table2"), store.runs())


def inpainting_beside_the_paper(results: Path) -> Table:
    store = RunStore(results)
    fill_inpainting(store, ("ode", "sde"), model="sd15", data="places")
    return build_table(one_pair("table2"), store.runs())


def inpainting_with_gaps(results: Path) -> Table:
    """A run is not there, one is partial, one is begun, one lacks a score."""
    store = RunStore(results)
    fill_inpainting(store, ("ode2", "sde2"), ("ode2", "large", 50))
    other = make_spec("ode2", 50, data_params={"masks": "large"})
    finished_run(store, other, {"psnr": 18.0}, n=6, of=8)
    begun = store.open(make_spec("sde2", 200, data_params={"masks": "large"}))
    add_images(begun, ["000"], seal=False)
    config = one_pair("table5")
    config["runs"]["steps"] = [25, 50, 100, 200]
    return build_table(config, store.runs())


def settings_across(results: Path) -> Table:
    """Arms of one metric each against a baseline, a setting across, costs below."""
    store = RunStore(results)
    for t_0, value in ((0.4, 9.0), (0.6, 7.0), (0.8, 11.0)):
        for sampler, gain in (("ode", 0.0), ("sde", 1.5)):
            params = {"t_0": t_0, "guidance": 7.5}
            asked = make_spec(sampler, 100, task="diffedit", task_params=params)
            finished_run(store, asked, {"fid": value - gain, "psnr": 20 + gain}, seconds=t_0)
    config = {
        "name": "across",
        "kind": "arms",
        "title": "Settings across",
        "runs": {"task": ["diffedit"], "steps": [100], "task.t_0": [0.4, 0.6, 0.8]},
        "arms": [
            {"label": "ODE", "set": {"sampler": "ode"}},
            {"label": "SDE", "set": {"sampler": "sde"}},
        ],
        "column": "task.t_0",
        "baseline": "ODE",
        "costs": ["evaluations", "calls", "seconds"],
        "remarks": ["100 % made up: a_b & c."],
    }
    return build_table(config, store.runs())


def one_column(results: Path) -> Table:
    """Evaluations across, of which there is one; an arm of three seeds; images compared by bit."""
    store = RunStore(results)
    finished_run(store, make_spec("ode", 20), {"psnr": 21.0}, pixels="same")
    for seed in (0, 1, 2):
        finished_run(store, make_spec("sde", 20, seed=seed), {"psnr": 22.0 + seed}, pixels="same")
    finished_run(store, make_spec("edict", 10), {"psnr": 17.0})
    config = {
        "name": "column",
        "kind": "arms",
        "title": "One column",
        "runs": {"task": ["inpaint"], "steps": [20]},
        "arms": [
            {"label": "DDIM", "set": {"sampler": "ode"}},
            {
                "label": "SDE",
                "set": {"sampler": "sde", "seed": [0, 1, 2]},
                "same_as": "DDIM",
            },
            {"label": "EDICT", "set": {"sampler": "edict", "steps": [10]}},
        ],
        "column": "nfe",
        "average": "seed",
        "baseline": "DDIM",
        "paper": {
            "source": "A paper, Table 1",
            "setting": "another experiment",
            "values": {"psnr": {"DDIM": {"20": 20.5}, "EDICT": {"20": 19.0}}},
            "higher": ["psnr"],
        },
    }
    return build_table(config, store.runs())


MADE_UP = {
    build.__name__: build
    for build in (
        inpainting,
        inpainting_beside_the_paper,
        inpainting_with_gaps,
        settings_across,
        one_column,
    )
}


# ------------------------------------------------------------------ tests


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((GOLDEN / "run_ids.json").read_text())
    return read


@pytest.mark.parametrize("name", in_groups(OF_RUNS))
def test_run_ids_of_a_table(name: str, golden: dict[str, Any]) -> None:
    """Of the last run of each grid, which has the most settings that are not the first."""
    grids = grids_of(name)
    expected = [*chain(*golden["tables"][name])]
    ends = [*accumulate(map(len, grids))]
    assert ends[-1] == len(expected)
    assert [run_id(composed(grid[-1]).spec) for grid in grids] == [
        expected[end - 1] for end in ends
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_RUNS)
def test_all_run_ids_of_a_table(name: str, golden: dict[str, Any]) -> None:
    """In order; the arms of Tables 2 and 5 were once one grid."""
    found = [id_of(overrides) for overrides in chain(*grids_of(name))]
    assert found == [*chain(*golden["tables"][name])]


@pytest.mark.parametrize("name", names("experiment"))
def test_run_id_of_a_preset(name: str, golden: dict[str, Any]) -> None:
    assert id_of_preset(name) == golden["experiments"][name]


@pytest.mark.parametrize("name", MADE_UP)
def test_bytes_of_a_table_of_made_up_runs(name: str, tmp_path: Path) -> None:
    table = MADE_UP[name](tmp_path)
    for ending, form in FORMS.items():
        golden = GOLDEN / f"{name}{ending}"
        assert form(table).encode() == golden.read_bytes(), golden.name


@pytest.mark.parametrize("file", sorted(COMMITTED.glob("*.json")), ids=lambda file: file.stem)
def test_bytes_of_a_committed_table(file: Path) -> None:
    """Every form follows from the JSON that was committed with it."""
    table = from_json(file.read_text())
    for ending, form in READ.items():
        assert form(table) == file.with_name(file.stem + ending).read_text()
    # A count is an int when it is written first, and a float when it is read back.
    assert to_json(table) == file.read_text()
    found, written = (
        _numbers(text) for text in (to_csv(table), file.with_suffix(".csv").read_text())
    )
    later = {heading: "" for heading in found[0] if heading not in written[0]}  # columns since then
    assert found == [line | later for line in written]


def _numbers(text: str) -> list[dict[str, str | float]]:
    lines = csv.DictReader(io.StringIO(text))
    return [{heading: _number(word) for heading, word in line.items()} for line in lines]


def _number(word: str) -> str | float:
    try:
        return float(word)
    except ValueError:
        return word


def write() -> None:
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / "run_ids.json").write_text(json.dumps(run_ids(), indent=1) + "\n")
    for name, build in MADE_UP.items():
        with tempfile.TemporaryDirectory() as results:
            table = build(Path(results))
        for ending, form in FORMS.items():
            (GOLDEN / f"{name}{ending}").write_text(form(table))


if __name__ == "__main__":
    sys.exit(write())
