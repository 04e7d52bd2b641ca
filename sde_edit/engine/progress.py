"""The progress bar of a run. It counts images, and the network evaluations of unfinished ones."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from sde_edit.api.model import Model

# In a log file the bar prints a line every half minute.
MININTERVAL = 0.1 if sys.stderr.isatty() else 30.0


class Progress:
    """A bar over `images`, which together cost about `evaluations` of the model.

    A batch may take minutes, so the bar moves with its evaluations, by hundredths of an image.
    """

    def __init__(self, label: str, model: Model, images: int, evaluations: int) -> None:
        # smoothing 0: the time left follows from the average speed, as single ticks vary too much
        self._bar: Any = tqdm(
            total=images, desc=label, unit="img", mininterval=MININTERVAL, smoothing=0
        )
        self._model, self._each = model, max(1.0, evaluations / max(1, images))
        self._images = 0
        self._first = model.evaluations  # before the run
        self._begun = model.evaluations  # before the current batch
        self._uncounted: tuple[str, int] | None = None  # label, evaluations before it
        self._lock = threading.Lock()

    def add(self, images: int) -> None:
        """Count finished images."""
        with self._lock:
            self._images += images
            self._begun = self._model.evaluations
            self._set()
            self._bar.update(0)  # redraws, unless it was drawn just now

    @contextmanager
    def uncounted(self, what: str) -> Iterator[None]:
        """Context manager: evaluations inside do not count as progress; the bar shows `what`."""
        before = self._model.evaluations
        self._uncounted = (what, before)
        try:
            yield
        finally:
            with self._lock:
                self._begun += self._model.evaluations - before
                self._uncounted = None

    def _set(self) -> None:
        now = self._model.evaluations
        what, counted = self._uncounted or ("", now)
        done = round(self._images + (counted - self._begun) / self._each, 2)
        self._bar.n = min(int(done) if done.is_integer() else done, self._bar.total)
        spent = f"{now - self._first} network evaluations"
        self._bar.set_postfix_str(", ".join(filter(None, (spent, what))), refresh=False)

    def _tell(self) -> None:
        with self._lock:
            self._set()
            self._bar.refresh()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Context manager: show the bar; redraw it every second (log files: half minute)."""
        ended = threading.Event()

        def tick() -> None:
            while not ended.wait(max(1.0, MININTERVAL)):
                self._tell()

        thread = threading.Thread(target=tick, daemon=True)
        with self._bar:
            thread.start()
            try:
                yield
            finally:
                ended.set()
                thread.join()
                self._tell()
