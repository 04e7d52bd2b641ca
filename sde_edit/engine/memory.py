"""Splits batches so that they fit into the device's memory, and remembers which sizes fit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from sde_edit.engine.attempt import device_name
from sde_edit.errors import UserError
from sde_edit.store.files import read_checked, write_checked

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment

log = logging.getLogger("sde_edit")
Item = TypeVar("Item")
Result = TypeVar("Result")


class AdaptiveBatcher:
    """Processes a batch in the largest chunks that fit into the device's memory.

    If memory runs out, it halves the chunk and continues. The `size` that fits is remembered for
    each device, model, dtype, kind of work and size of image in <cache>/chunks.json; a smaller
    batch size takes precedence over it. Each example has its own noise, so the size of chunks
    changes the images only by rounding.
    """

    def __init__(
        self, experiment: Experiment, device: str, work: str, size: tuple[int, int]
    ) -> None:
        """size: (H, W) of the images."""
        spec, batch_size = experiment.spec, experiment.settings.batch_size
        self._file = experiment.settings.cache / "chunks.json"
        parts = (device_name(device), spec.model.digest[:12], spec.dtype, work)
        height, width = size
        self._key = " ".join([*parts, str(width) if height == width else f"{width}x{height}"])
        self.size = min(batch_size, self._known_sizes().get(self._key, batch_size))

    def map(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Result]) -> list[Result]:
        """Apply `work` to each chunk. Raises UserError if a single image does not fit."""
        done: list[Result] = []
        rest = items
        while rest:
            chunk = rest[: self.size]
            if (result := self._try(chunk, work)) is None:
                self._halve(len(chunk))
            else:
                done.append(result)
                rest = rest[len(chunk) :]
        return done

    def _try(
        self, chunk: Sequence[Item], work: Callable[[Sequence[Item]], Result]
    ) -> Result | None:
        """None if memory ran out; returning frees the tensors of the failed attempt."""
        try:
            return work(chunk)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
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
        known = self._known_sizes() | {self._key: self.size}
        write_checked(self._file, known)

    def _known_sizes(self) -> dict[str, int]:
        return remembered_sizes(self._file)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether a device has no memory left. On a CPU torch says so by a plain RuntimeError."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)


def remembered_sizes(file: Path) -> dict[str, int]:
    """Key -> number of images that fit; sizes that cannot be meant are left out."""
    known = read_checked(file)
    return {key: size for key, size in known.items() if isinstance(size, int) and size >= 1}
