"""The batches that runs lack, shared out among all processes that work on the same runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sde_edit.engine.output import ActiveRun
from sde_edit.store.leases import Leases
from sde_edit.store.runs import output_name

log = logging.getLogger("sde_edit")
_POLL_S = 5.0  # how often to look again at batches that other processes work on


@dataclass(frozen=True)
class ClaimedBatch:
    """A batch that this process makes. runs: the numbers of the runs that lack it."""

    ids: tuple[str, ...]
    runs: tuple[int, ...]


class SharedWork:
    """The batches that runs made together still lack. Such runs have equal batches.

    Batches of which another process has a lease come last: by then it has made them, or it has
    ended and they are made here.
    """

    def __init__(self, active_runs: Sequence[ActiveRun], leases: Sequence[Leases]) -> None:
        self._active, self._leases = active_runs, leases
        self._done: list[set[str]] = [set() for _ in active_runs]
        self._deferred: list[tuple[str, ...]] = []

    def rounds(self) -> Iterator[Iterator[ClaimedBatch]]:
        """Each round claims batches one by one as they are asked for, and waits for nobody.

        A process waits between rounds, when it has made what it claimed, so that two processes
        never wait for each other.
        """
        left = _pending(self._active)
        while left:
            self._deferred = []
            yield self._claims(left)
            left = self._deferred
            left = self._wait(left) if left else []

    def _claims(self, batches: Sequence[tuple[str, ...]]) -> Iterator[ClaimedBatch]:
        for ids in batches:
            runs = self._claim(ids)
            if runs is None:
                self._deferred.append(ids)
            elif runs:
                yield ClaimedBatch(ids, tuple(runs))

    def _claim(self, ids: tuple[str, ...]) -> list[int] | None:
        """The runs that lack the batch, leased; None if another process works on it."""
        claimed: list[int] = []
        for k in self._lacking(ids):
            if not self._leases[k].claim(ids):
                for other in claimed:
                    self._leases[other].release(ids)
                return None
            claimed.append(k)
        return self._lacking(ids)  # made before the lease was free

    def _lacking(self, ids: tuple[str, ...]) -> list[int]:
        wanting = [k for k, a in enumerate(self._active) if a.plan.missing.intersection(ids)]
        return [k for k in wanting if not self._is_done(k, ids)]

    def _is_done(self, k: int, ids: tuple[str, ...]) -> bool:
        """Whether the batch was made since the plan. Reads records only if the files exist."""
        if self._done[k].issuperset(ids):
            return True
        run = self._active[k].run
        if not all((run.path / "outputs" / output_name(i)).exists() for i in ids):
            return False
        self._done[k] = set(run.rows())
        return self._done[k].issuperset(ids)

    def _wait(self, batches: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """Wait while other processes work on all of the batches; return those left."""
        log.info("%d batches are being made by another process: waiting for them", len(batches))
        while batches:
            batches = [ids for ids in batches if self._lacking(ids)]
            if any(self._is_free(ids) for ids in batches):
                return batches
            if batches:
                time.sleep(_POLL_S)
        return []

    def _is_free(self, ids: tuple[str, ...]) -> bool:
        return not any(self._leases[k].is_taken(ids) for k in self._lacking(ids))


def _pending(active_runs: Sequence[ActiveRun]) -> list[tuple[str, ...]]:
    """The batches in which a run lacks an image."""
    missing = frozenset().union(*(active.plan.missing for active in active_runs))
    return [batch for batch in active_runs[0].plan.batches if missing.intersection(batch)]
