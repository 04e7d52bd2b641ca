"""What two processes on one run do."""

import subprocess
import sys
import time
from collections import Counter
from types import SimpleNamespace

from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.config import experiment
from sde_edit.engine import shared_work
from sde_edit.engine.attempt import Attempt
from sde_edit.engine.damage import damaged_outputs
from sde_edit.engine.execute import ModelCache
from sde_edit.engine.output import ActiveRun
from sde_edit.engine.plan import plan_run, seal_if_complete
from sde_edit.engine.producer import producer_of
from sde_edit.store.leases import Leases
from sde_edit.store.runs import RunStore, rows_digest

SMALL = ["steps=2", "data.limit=12", "hardware.batch_size=1", "hardware.threads=1"]


def records(results):
    (run,) = RunStore(results).runs()
    assert run.seal
    return Counter(record.id for record in run.iter_records())


def test_two_sweeps_of_one_run_do_no_batch_twice(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr(shared_work, "_POLL_S", 0.2)
    arguments = [*SMALL, f"model.path={tiny_model}", "metrics=[]", f"paths.results={tmp_path}"]
    command = [sys.executable, "-m", "sde_edit", "run", *arguments]
    two = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in two]
    assert [process.returncode for process in two] == [0, 0], said
    counted = records(tmp_path)
    assert len(counted) == 12
    assert set(counted.values()) == {1}
    (run,) = RunStore(tmp_path).runs()
    assert not run.leases.exists()


def test_a_batch_that_another_process_leaves_is_made_here(tmp_path, tiny_model, monkeypatch):
    """The other process, a stand-in, has a lease on a batch and ends while this one waits."""
    arguments = [*SMALL, f"model.path={tiny_model}", "metrics=[]", f"paths.results={tmp_path}"]

    chosen = experiment(arguments)
    run = RunStore(tmp_path).open(chosen.spec)
    first = plan_run(chosen, run).batches[0]
    with Leases(run.leases, "other") as other:
        assert other.claim(first)
        (run.leases / "other.alive").write_text("elsewhere 1")
        waited = []

        def sleep(seconds):
            """Threads still write what was made; the other process ends when all of it is there."""
            waited.append(seconds)
            made = {record.id for record in run.iter_records()}
            assert first[0] not in made
            if len(made) == 11:
                other.release(first)
            else:
                assert len(waited) < 6000
                time.sleep(0.01)

        monkeypatch.setattr(shared_work, "time", SimpleNamespace(sleep=sleep))
        outcome = CliRunner().invoke(main, ["run", *arguments], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    assert waited
    assert set(records(tmp_path).values()) == {1}


def test_batches_of_another_size_leave_what_is_made_and_sealed(tmp_path, tiny_model):
    """The other process begins first, shares no lease, and goes on when the run is sealed."""
    common = [f"model.path={tiny_model}", "metrics=[]", f"paths.results={tmp_path}"]
    threes = experiment([*SMALL, "data.limit=3", "hardware.batch_size=3", *common])
    run = RunStore(tmp_path).open(threes.spec)
    plan = plan_run(threes, run)
    assert len(plan.missing) == 3
    twos = ["run", *SMALL, "data.limit=2", "hardware.batch_size=2", *common]
    assert CliRunner().invoke(main, twos, catch_exceptions=False).exit_code == 0
    before = {row.id: (row, run.output(row).read_bytes()) for row in run.iter_records()}
    with Attempt(threes, run, plan) as attempt:
        active = ActiveRun(threes, run, plan, 0, attempt, lambda *_: None)
        producer_of(threes).make([active], ModelCache())
    assert run.seal.n == 2
    seal_if_complete(run, plan)
    assert set(records(tmp_path).values()) == {1}
    assert run.seal.n == 3
    assert run.seal.digest == rows_digest(run.rows().values())
    after = {row.id: (row, run.output(row).read_bytes()) for row in run.iter_records()}
    assert before.items() <= after.items()
    assert damaged_outputs(run, every=True) == []


def test_runs_that_share_their_encoding_lease_together(tmp_path, tiny_model, monkeypatch):
    common = [
        *SMALL[:1],
        *("data.limit=4", "hardware.batch_size=2", "hardware.threads=1", "task=sdedit"),
        *("data=shapes-edits", f"model.path={tiny_model}", "metrics=[]"),
    ]
    where = f"paths.results={tmp_path}"
    for t_0 in ("task.t_0=0.5", "task.t_0=0.5,1.0"):
        outcome = CliRunner().invoke(main, ["run", *common, t_0, where], catch_exceptions=False)
        assert outcome.exit_code == 0, outcome.output
    for run in RunStore(tmp_path).runs():
        assert set(Counter(record.id for record in run.iter_records()).values()) == {1}
