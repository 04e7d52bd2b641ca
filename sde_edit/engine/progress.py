"""The progress bar of a run: images, and what the network has done of those that are at work."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from sde_edit.api.model import Model

# A progress bar in a log file is a line every half minute.
MININTERVAL = 0.1 if sys.stderr.isatty() else 30.0


class Progress:
    """A bar of `images`, which cost about `evaluations` of the model; a batch may take minutes, so
    its share is told by the evaluations done, to a hundredth of an image.
    """

    def __init__(self, label: str, model: Model, images: int, evaluations: int) -> None:
        # smoothing 0: the time left goes by all that is done, as ticks are no measure of speed
        self._bar: Any = tqdm(
            total=images, desc=label, unit="img", mininterval=MININTERVAL, smoothing=0
        )
        self._model, self._each = model, max(1.0, evaluations / max(1, images))
        self._images = 0
        self._first = self._begun = model.evaluations  # of the run; of the batch at work
        self._uncounted: tuple[str, int] | None = None  # what, and the evaluations before it
        self._lock = threading.Lock()

    def add(self, images: int) -> None:
        """Images that are done, of all those at work."""
        with self._lock:
            self._images += images
            self._begun = self._model.evaluations
            self._set()
            self._bar.update(0)  # shows it, unless the last time was just now

    @contextmanager
    def uncounted(self, what: str) -> Iterator[None]:
        """Work of the network that is no part of what the images cost."""
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
        told = f"{now - self._first} network evaluations"
        self._bar.set_postfix_str(", ".join(filter(None, (told, what))), refresh=False)

    def _tell(self) -> None:
        with self._lock:
            self._set()
            self._bar.refresh()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The bar, brought up to date every second (in a log file: every half minute)."""
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
