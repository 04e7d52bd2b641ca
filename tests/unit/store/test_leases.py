"""Leases: who gets one, and until when."""

import errno
import os
import platform
import subprocess
import sys
import threading

import pytest

from sde_edit.errors import UserError
from sde_edit.store import leases as leases_module
from sde_edit.store.leases import EXPIRY_S, Leases
from sde_edit.store.runs import RunStore
from tests.builders import make_spec

BATCH = ("a", "b")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "leases"


def age(folder, owner, seconds):
    """Makes an owner look as if it had last been alive that long ago."""
    alive = folder / f"{owner}.alive"
    then = alive.stat().st_mtime - seconds
    os.utime(alive, (then, then))


def elsewhere(folder, owner):
    """Makes an owner look like one of another machine."""
    (folder / f"{owner}.alive").write_text("elsewhere 1")


def test_one_of_two_gets_a_batch_until_it_gives_it_back(folder):
    with Leases(folder, "one") as one, Leases(folder, "two") as two:
        assert one.claim(BATCH)
        assert not two.claim(BATCH)
        assert two.is_taken(BATCH)
        assert not one.is_taken(BATCH)
        assert two.claim(("c",))
        one.release(BATCH)
        assert two.claim(BATCH)


def test_an_owner_that_ends_leaves_nothing(folder):
    with Leases(folder, "one") as one:
        one.claim(BATCH)
    assert not folder.exists()


def test_one_that_ends_leaves_the_others(folder):
    with Leases(folder, "two") as two:
        two.claim(("c",))
        with Leases(folder, "one") as one:
            one.claim(BATCH)
        assert not two.is_taken(BATCH)
        with Leases(folder, "three") as three:
            assert not three.claim(("c",))


def test_the_lease_of_another_machine_expires(folder):
    with Leases(folder, "one") as one, Leases(folder, "two") as two:
        one.claim(BATCH)
        elsewhere(folder, "one")
        age(folder, "one", EXPIRY_S - 30)
        assert not two.claim(BATCH)
        age(folder, "one", 60)
        assert two.claim(BATCH)
        assert not one.claim(BATCH)


def test_the_lease_of_a_killed_process_is_free_at_once(folder):
    with Leases(folder, "one") as one, Leases(folder, "two") as two:
        one.claim(BATCH)
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        (folder / "one.alive").write_text(f"{platform.node()} {gone.pid}")
        assert two.claim(BATCH)


@pytest.mark.parametrize("owner", ["../../gone", "a\0b", "\udcff"])
def test_a_damaged_lease_is_free(folder, owner):
    with Leases(folder, "one") as one:
        one.claim(BATCH)
        (lease,) = one._held
        lease.write_bytes(owner.encode(errors="surrogateescape"))
        with Leases(folder, "two") as two:
            assert two.claim(BATCH)


@pytest.mark.parametrize("pid", ["", "-1", "x", "9" * 30])
def test_an_owner_without_a_process_id_holds_until_it_expires(folder, pid):
    with Leases(folder, "one") as one, Leases(folder, "two") as two:
        one.claim(BATCH)
        (folder / "one.alive").write_text(f"{platform.node()} {pid}")
        assert not two.claim(BATCH)
        age(folder, "one", 2 * EXPIRY_S)
        assert two.claim(BATCH)


def test_a_lease_that_is_a_link_is_named(folder, tmp_path):
    with Leases(folder, "one") as one:
        (folder / one._file(BATCH).name).symlink_to(tmp_path / "secret")
        with pytest.raises(UserError, match="is a link"):
            one.claim(BATCH)


def test_a_folder_of_leases_that_is_a_link_is_refused(tmp_path):
    run = RunStore(tmp_path).open(make_spec())
    run.leases.symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"leases: is a link"):
        RunStore(tmp_path).open(make_spec())
    with pytest.raises(UserError, match=r"leases: is a link"), Leases(run.leases, "one"):
        pass


def test_one_that_begins_while_another_removes_the_empty_folder(folder, monkeypatch):
    write_alive = Leases._write_alive
    removals = [folder]

    def write_late(self):
        if removals:
            removals.pop().rmdir()
        write_alive(self)

    monkeypatch.setattr(Leases, "_write_alive", write_late)
    with Leases(folder, "one") as one:
        assert one.claim(BATCH)


def test_an_owner_keeps_itself_alive(folder, monkeypatch):
    monkeypatch.setattr(leases_module, "_TOUCH_S", 0.01)
    with Leases(folder, "one") as one, Leases(folder, "two") as two:
        one.claim(BATCH)
        age(folder, "one", 2 * EXPIRY_S)
        threading.Event().wait(0.3)
        assert not two.claim(BATCH)


def test_one_of_many_takes_an_expired_lease(folder):
    with Leases(folder, "dead") as dead:
        dead.claim(BATCH)
        elsewhere(folder, "dead")
        age(folder, "dead", 2 * EXPIRY_S)
        got = []

        def take(name):
            with Leases(folder, name) as own:
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


def test_a_disk_that_is_full_is_named_and_leaves_no_lease(folder, monkeypatch):
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

    with Leases(folder, "one") as one:
        monkeypatch.setattr(leases_module, "open", opened, raising=False)
        with pytest.raises(UserError, match=r"No space left on device.*nothing finished is lost"):
            one.claim(BATCH)
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_named(folder):
    folder.write_text("a file")
    with pytest.raises(UserError, match=r"leases.*paths\.results"), Leases(folder, "one"):
        pass
