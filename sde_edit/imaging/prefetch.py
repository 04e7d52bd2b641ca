"""Loads items in threads ahead of the work that uses them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Key = TypeVar("Key")
Item = TypeVar("Item")


def prefetch(
    load: Callable[[Key], Item], keys: Iterable[Key], *, workers: int, ahead: int | None = None
) -> Iterator[Item]:
    """Yield the loaded items in order; at most `ahead` items (None: two per worker) wait in memory.

    Raises what `load` raises, when the item's turn comes.
    """
    workers = max(workers, 1)
    most = 2 * workers if ahead is None else ahead
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Item]] = deque()
        for key in keys:
            waiting.append(pool.submit(load, key))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
