"""The store that scripts/bench_store.py makes up is like one that runs have left."""

import runpy

from sde_edit.commands.sweep import plan_sweep
from sde_edit.report.results import load_finished
from sde_edit.store.runs import RunStore
from tests.builders import ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "bench_store.py"))


def test_nothing_is_left_to_do_in_it(tmp_path):
    overrides = ["seed=0", "data.limit=2", f"paths.results={tmp_path}"]
    assert SCRIPT["make_store"](overrides) == SCRIPT["RUNS_OF_A_SEED"]
    planned = plan_sweep([*SCRIPT["GRID"], *overrides])
    assert not planned.runs
    first, *others = [load_finished(run) for run in RunStore(tmp_path).runs()]
    assert len(others) == SCRIPT["RUNS_OF_A_SEED"] - 1
    assert (first.n, first.of, sorted(first.scores)) == (2, 256, sorted(others[0].scores))
    assert not RunStore(tmp_path).runs()[0].damage()
