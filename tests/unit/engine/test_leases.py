"""Leases on batches: who gets one, until when, and what two processes on one run do."""

import errno
import os
import platform
import subprocess
import sys
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.config import experiment
from sde_edit.engine import leases as leases_module
from sde_edit.engine import shared_work
from sde_edit.engine.attempt import Attempt
from sde_edit.engine.damage import damaged_outputs
from sde_edit.engine.execute import ModelCache
from sde_edit.engine.leases import EXPIRY_S, Leases
from sde_edit.engine.output import ActiveRun
from sde_edit.engine.plan import plan_run, seal_if_complete
from sde_edit.engine.producer import producer_of
from sde_edit.errors import UserError
from sde_edit.store.runs import RunStore, rows_digest
from tests.builders import make_spec

BATCH = ("a", "b")
SMALL = ["steps=2", "data.limit=12", "hardware.batch_size=1", "hardware.threads=1"]


@pytest.fixture
def run(tmp_path):
    return RunStore(tmp_path).open(make_spec())


def age(run, attempt, seconds):
    """Makes an attempt look as if it had last been alive that long ago."""
    alive = run.path / "leases" / f"{attempt}.alive"
    then = alive.stat().st_mtime - seconds
    os.utime(alive, (then, then))


def elsewhere(run, attempt):
    """Makes an attempt look like one of another machine."""
    (run.path / "leases" / f"{attempt}.alive").write_text("elsewhere 1")


def test_one_of_two_gets_a_batch_until_it_gives_it_back(run):
    with Leases(run, "one") as one, Leases(run, "two") as two:
        assert one.claim(BATCH)
        assert not two.claim(BATCH)
        assert two.is_taken(BATCH)
        assert not one.is_taken(BATCH)
        assert two.claim(("c",))
        one.release(BATCH)
        assert two.claim(BATCH)


def test_an_attempt_that_ends_leaves_nothing(run):
    with Leases(run, "one") as one:
        one.claim(BATCH)
    assert not (run.path / "leases").exists()


def test_one_that_ends_leaves_the_others(run):
    with Leases(run, "two") as two:
        two.claim(("c",))
        with Leases(run, "one") as one:
            one.claim(BATCH)
        assert not two.is_taken(BATCH)
        with Leases(run, "three") as three:
            assert not three.claim(("c",))


def test_the_lease_of_another_machine_expires(run):
    with Leases(run, "one") as one, Leases(run, "two") as two:
        one.claim(BATCH)
        elsewhere(run, "one")
        age(run, "one", EXPIRY_S - 30)
        assert not two.claim(BATCH)
        age(run, "one", 60)
        assert two.claim(BATCH)
        assert not one.claim(BATCH)


def test_the_lease_of_a_killed_process_is_free_at_once(run):
    with Leases(run, "one") as one, Leases(run, "two") as two:
        one.claim(BATCH)
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        (run.path / "leases" / "one.alive").write_text(f"{platform.node()} {gone.pid}")
        assert two.claim(BATCH)


@pytest.mark.parametrize("owner", ["../../gone", "a\0b", "\udcff"])
def test_a_damaged_lease_is_free(run, owner):
    with Leases(run, "one") as one:
        one.claim(BATCH)
        (lease,) = one._held
        lease.write_bytes(owner.encode(errors="surrogateescape"))
        with Leases(run, "two") as two:
            assert two.claim(BATCH)


@pytest.mark.parametrize("pid", ["", "-1", "x", "9" * 30])
def test_an_attempt_without_a_process_id_holds_until_it_expires(run, pid):
    with Leases(run, "one") as one, Leases(run, "two") as two:
        one.claim(BATCH)
        (run.path / "leases" / "one.alive").write_text(f"{platform.node()} {pid}")
        assert not two.claim(BATCH)
        age(run, "one", 2 * EXPIRY_S)
        assert two.claim(BATCH)


def test_a_lease_that_is_a_link_is_named(run, tmp_path):
    with Leases(run, "one") as one:
        (run.path / "leases" / one._file(BATCH).name).symlink_to(tmp_path / "secret")
        with pytest.raises(UserError, match="is a link"):
            one.claim(BATCH)


def test_a_folder_of_leases_that_is_a_link_is_refused(run, tmp_path):
    (run.path / "leases").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"leases: is a link"):
        RunStore(tmp_path).open(make_spec())


def test_an_attempt_keeps_itself_alive(run, monkeypatch):
    monkeypatch.setattr(leases_module, "_TOUCH_S", 0.01)
    with Leases(run, "one") as one, Leases(run, "two") as two:
        one.claim(BATCH)
        age(run, "one", 2 * EXPIRY_S)
        threading.Event().wait(0.3)
        assert not two.claim(BATCH)


def test_one_of_many_takes_an_expired_lease(run):
    with Leases(run, "dead") as dead:
        dead.claim(BATCH)
        elsewhere(run, "dead")
        age(run, "dead", 2 * EXPIRY_S)
        got = []

        def take(name):
            with Leases(run, name) as own:
                if own.claim(BATCH):
                    got.append(name)
                barrier.wait()

        barrier = threading.Barrier(8)
        threads = [threading.Thread(target=take, args=(str(k),)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got  # a race may give it to two, who then make the same images


def test_a_disk_that_is_full_is_named_and_leaves_no_lease(run, monkeypatch):
    """The file can be made, and its content does not fit."""

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            raise OSError(errno.ENOSPC, "No space left on device")

        def write(self, text):
            return len(text)

    def opened(file, mode):
        open(file, mode).close()
        return Full()

    with Leases(run, "one") as one:
        monkeypatch.setattr(leases_module, "open", opened, raising=False)
        with pytest.raises(UserError, match=r"No space left on device.*nothing finished is lost"):
            one.claim(BATCH)
    assert not (run.path / "leases").exists()


def test_a_folder_that_cannot_be_written_is_named(run):
    (run.path / "leases").write_text("a file")
    with pytest.raises(UserError, match=r"leases.*paths\.results"), Leases(run, "one"):
        pass


# ------------------------------------------------------------------ two processes on a run


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
    assert not (run.path / "leases").exists()


def test_a_batch_that_another_process_leaves_is_made_here(tmp_path, tiny_model, monkeypatch):
    """The other process, a stand-in, has a lease on a batch and ends while this one waits."""
    arguments = [*SMALL, f"model.path={tiny_model}", "metrics=[]", f"paths.results={tmp_path}"]

    chosen = experiment(arguments)
    run = RunStore(tmp_path).open(chosen.spec)
    first = plan_run(chosen, run).batches[0]
    with Leases(run, "other") as other:
        assert other.claim(first)
        elsewhere(run, "other")
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
