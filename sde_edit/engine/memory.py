"""Batches in chunks that the device's memory holds; what held is remembered."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch

from sde_edit.engine.attempt import device_name
from sde_edit.errors import UserError
from sde_edit.store.files import write_atomic

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment

log = logging.getLogger("sde_edit")
S = TypeVar("S")


T = TypeVar("T")


class AdaptiveBatcher:
    """Does the work of a batch in the largest chunks that the device's memory holds.

    Out of memory halves the chunk and goes on; the `size` that worked is remembered for the device
    in <cache>/chunks.json. Noise belongs to the example, so the images stay what they
    were, up to the rounding of another batch size.
    """

    def __init__(self, experiment: Experiment, device: str, work: str) -> None:
        spec = experiment.spec
        self._file = experiment.settings.cache / "chunks.json"
        parts = (device_name(device), spec.model.digest[:12], spec.dtype, work)
        self._key = " ".join([*parts, str(experiment.source.resolution)])
        self.size = self._recall().get(self._key, experiment.settings.batch_size)

    def map(self, items: Sequence[S], work: Callable[[Sequence[S]], T]) -> list[T]:
        """What `work` gives of each chunk. Raises UserError if one image alone does not fit."""
        done: list[T] = []
        rest = items
        while rest:
            chunk = rest[: self.size]
            if (given := self._try(chunk, work)) is None:
                self._halve(len(chunk))
            else:
                done.append(given)
                rest = rest[len(chunk) :]
        return done

    def _try(self, chunk: Sequence[S], work: Callable[[Sequence[S]], T]) -> T | None:
        """None if memory ran out; the failed attempt's tensors are free once this has returned."""
        try:
            return work(chunk)
        except torch.OutOfMemoryError:
            return None

    def _halve(self, failed: int) -> None:
        if failed == 1:
            raise UserError(
                "the device's memory does not hold one image: use a smaller dtype, another device, "
                "or end what else runs on it"
            )
        torch.cuda.empty_cache()
        self.size = failed // 2
        log.warning("out of memory with %d images at once: going on with %d", failed, self.size)
        known = self._recall() | {self._key: self.size}
        write_atomic(self._file, (json.dumps(known, indent=2) + "\n").encode())

    def _recall(self) -> dict[str, int]:
        return json.loads(self._file.read_text()) if self._file.exists() else {}
