"""The cache of preparations: what several processes do that fill it at the same time."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from sde_edit.api.preparation import Preparation
from sde_edit.errors import UserError
from sde_edit.store import preparation_cache
from sde_edit.store.leases import Leases, are_abandoned
from sde_edit.store.preparation_cache import PreparationCache
from tests.builders import make_spec, wait_until


class _Squares(Preparation):
    """The square of each example, which is a number here. 12 and 2 have one key."""

    name, label, suffix = "squares", "squares", ".txt"

    def basis(self, spec: Any) -> Mapping[str, Any]:
        return {}

    def key(self, example: Any) -> str:
        return str(example % 10)

    def compute(self, examples: Any, model: Any, grid: Any, noise: Any) -> Sequence[bytes]:
        raise NotImplementedError

    def read(self, content: bytes, example: Any) -> int:
        return int(content)


def cache_in(folder: Path) -> PreparationCache:
    return PreparationCache(folder, make_spec(), _Squares())


def squares(examples: Sequence[Any]) -> list[bytes]:
    return [str((example % 10) ** 2).encode() for example in examples]


def fill(folder: Path, examples: Any, compute: Any = squares) -> None:
    found = cache_in(folder).fill(examples, compute)
    assert found == [(example % 10) ** 2 for example in examples]


# ------------------------------------------------------------------ one process
def test_examples_with_one_key_are_computed_once(tmp_path: Path) -> None:
    asked: list[int] = []
    fill(tmp_path, [2, 3, 12], lambda some: asked.extend(some) or squares(some))
    assert len(asked) == 2


def test_what_is_stored_needs_no_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a complete cache may be read-only."""
    fill(tmp_path, [1, 2])
    monkeypatch.setattr(preparation_cache, "Leases", None)
    fill(tmp_path, [2, 1])


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_computed(
    tmp_path: Path,
) -> None:
    (tmp_path / "squares").write_text("a file")
    with pytest.raises(UserError, match=r"squares.*paths\.cache"):
        fill(tmp_path, [1], lambda some: pytest.fail("computed in vain"))


def test_an_error_leaves_no_lease(tmp_path: Path) -> None:
    def fail(some: Sequence[Any]) -> list[bytes]:
        raise UserError("not finite")

    with pytest.raises(UserError, match="not finite"):
        fill(tmp_path, [1, 2], fail)
    assert not cache_in(tmp_path).leases.exists()
    fill(tmp_path, [1, 2])


def test_a_damaged_result_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path, [1, 2])
    (cache_in(tmp_path).folder / "2.txt").write_text("5")
    fill(tmp_path, [1, 2])
    assert caplog.text.count("it is computed again") == 1


# ------------------------------------------------------------------ several processes
eventually = partial(wait_until, seconds=600)  # a busy machine takes a minute to start processes
WAITS = "{} squares: waiting for {} that another process is computing"


class Party:
    """A folder with a cache that processes fill, and what they have told.

    They write a line `<who> <what>` to `told`, and wait for a file `open-<gate>` where they are
    asked to; the first gate of each has its own name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "cache"

    def tell(self, who: str, what: object) -> None:
        with (self.folder / "told").open("a") as file:
            file.write(f"{who} {what}\n")

    @property
    def told(self) -> list[str]:
        file = self.folder / "told"
        return file.read_text().splitlines() if file.exists() else []

    def open(self, gate: str) -> None:
        (self.folder / f"open-{gate}").touch()

    def pass_through(self, gate: str) -> None:
        eventually((self.folder / f"open-{gate}").exists)

    def computed(self, who: str = "") -> list[str]:
        lines = [line.split() for line in self.told]
        return sorted(line[2] for line in lines if line[1] == "computes" and who in ("", line[0]))


class _Tells(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())


def work(folder: Path, who: str, examples: Sequence[int], first_claim: str, compute: str) -> None:
    """What a process does. first_claim, compute: the gates it waits at after its first claim and
    while it computes; "" for none."""
    party = Party(folder)
    log = logging.getLogger("sde_edit")
    log.setLevel(logging.INFO)
    log.addHandler(_Tells(partial(party.tell, who)))
    preparation_cache._POLL_S = 0.1
    claim = Leases.claim

    def claim_and_wait(self: Leases, work: Sequence[str]) -> bool:
        claimed = claim(self, work)
        if claimed and first_claim and f"{who} claims" not in party.told:
            party.tell(who, "claims")
            party.pass_through(first_claim)
        return claimed

    def slowly(some: Sequence[Any]) -> list[bytes]:
        for example in some:
            party.tell(who, f"computes {example}")
        if compute:
            party.pass_through(compute)
        if compute == "to fail":
            raise UserError("it failed")
        return squares(some)

    Leases.claim = claim_and_wait  # type: ignore[method-assign]
    party.pass_through(who)
    fill(party.cache, examples, slowly)


@pytest.fixture
def party(tmp_path: Path) -> Party:
    return Party(tmp_path)


@pytest.fixture
def start(party: Party) -> Iterator[Callable[..., BaseProcess]]:
    """Starts a process that does `work`."""
    started: list[BaseProcess] = []

    def start(
        who: str, examples: Sequence[int], first_claim: str = "", compute: str = ""
    ) -> BaseProcess:
        arguments = (party.folder, who, examples, first_claim, compute)
        process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def end(*processes: BaseProcess) -> None:
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def waits(party: Party, who: str, n: int) -> Callable[[], bool]:
    """Whether a process waits for n results, or computes something instead."""
    return lambda: WAITS.format(who, n) in party.told or bool(party.computed(who))


def test_two_processes_compute_each_result_once(
    party: Party, start: Callable[..., BaseProcess]
) -> None:
    first, second = start("a", [1, 2, 3], compute="gate"), start("b", [3, 2, 1])
    party.open("a")
    eventually(lambda: len(party.computed("a")) == 3)
    party.open("b")
    eventually(waits(party, "b", 3))
    party.open("gate")
    end(first, second)
    assert party.computed() == ["1", "2", "3"]
    assert not cache_in(party.cache).leases.exists()


def test_a_killed_process_is_replaced(party: Party, start: Callable[..., BaseProcess]) -> None:
    first, second = start("a", [1, 2], compute="never"), start("b", [1, 2, 3])
    party.open("a")
    eventually(lambda: len(party.computed("a")) == 2)
    party.open("b")
    eventually(lambda: bool(party.computed("b")))
    assert party.computed("b") == ["3"]
    eventually(lambda: WAITS.format("b", 2) in party.told)
    first.kill()
    first.join()
    end(second)
    assert party.computed("b") == ["1", "2", "3"]
    leases = cache_in(party.cache).leases
    assert [file.suffix for file in leases.iterdir()] == [".alive"]  # of the killed one
    assert are_abandoned(leases)


def test_a_process_that_fails_is_replaced(party: Party, start: Callable[..., BaseProcess]) -> None:
    first, second = start("a", [1, 2], compute="to fail"), start("b", [1, 2])
    party.open("a")
    eventually(lambda: len(party.computed("a")) == 2)
    party.open("b")
    eventually(waits(party, "b", 2))
    assert party.computed("b") == []
    party.open("to fail")
    end(second)
    first.join()
    assert first.exitcode == 1
    assert party.computed("b") == ["1", "2"]


def test_overlapping_lists_in_different_order_are_finished(
    party: Party, start: Callable[..., BaseProcess]
) -> None:
    """Each has the lease that the other wants next."""
    both = start("a", [1, 2, 3], first_claim="gate"), start("b", [2, 1, 4], first_claim="gate")
    party.open("a")
    party.open("b")
    eventually(lambda: {"a claims", "b claims"} <= set(party.told))
    party.open("gate")
    end(*both)
    assert party.computed("a") == ["1", "3"]
    assert party.computed("b") == ["2", "4"]
