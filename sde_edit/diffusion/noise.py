"""Noise per example: a counter-based stream for each (seed, example, purpose, step).

Noise is drawn on the CPU in float32, whatever the device and dtype of the run. An example sees the
same noise in any batch, order, shard or resumed run, and no global generator is used. For a GPU a
thread draws the noise of the next step while this one is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from sde_edit.diffusion import host
from sde_edit.diffusion.streams import named_generator

if TYPE_CHECKING:
    from torch import Tensor


def example_normal(
    seed: int, example_id: str, purpose: str, step: int, shape: Sequence[int]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Standard normal float32 array of this shape, which depends only on the arguments."""
    rng = named_generator(f"{seed}\x1f{example_id}\x1f{purpose}\x1f{step}")
    return rng.standard_normal(tuple(shape), np.float32)


class DrawnAhead:
    """Draws series of noises, the next of each in a thread, if its steps go on as they did.

    What is drawn depends on series and step alone, so it does not matter by whom.
    """

    def __init__(self) -> None:
        self._last: dict[Hashable, int] = {}  # series -> the step asked for last
        self._next: dict[Hashable, tuple[int, Future[Tensor]]] = {}

    def __call__(self, draw: Callable[[int], Tensor], series: Hashable, step: int) -> Tensor:
        """draw(step), perhaps drawn already. Every call of a series has an equal `draw`."""
        expected, drawn = self._next.pop(series, (None, None))
        found = drawn.result() if drawn and expected == step else draw(step)
        if series in self._last:
            following = 2 * step - self._last[series]
            self._next[series] = following, _thread().submit(draw, following)
        self._last[series] = step
        return found


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "noise")


@dataclass(frozen=True)
class Noise:
    """The noise of a batch of examples."""

    seed: int
    example_ids: tuple[str, ...]
    stage: str = ""  # a part of the edit with noise of its own; prefixed to every purpose
    _ahead: DrawnAhead = field(default_factory=DrawnAhead, init=False, repr=False, compare=False)

    def of(self, rows: Sequence[int]) -> Noise:
        """The noise of these rows of the batch."""
        return replace(self, example_ids=tuple(self.example_ids[row] for row in rows))

    def within(self, stage: str) -> Noise:
        """Noise for a part of the edit that reuses purposes and steps, such as one drag step."""
        return replace(self, stage=f"{self.stage}{stage} ")

    def like(self, x_BCHW: Tensor, purpose: str, step: int = 0) -> Tensor:
        """Standard normal noise of x's shape, dtype and device; row b belongs to example b.

        Raises ValueError if the number of rows is not the number of examples.
        """
        if len(x_BCHW) != len(self.example_ids):
            raise ValueError(f"{len(x_BCHW)} rows for {len(self.example_ids)} examples")
        shape = tuple(x_BCHW.shape[1:])
        draw = partial(self._draw, purpose, shape)
        on_gpu = x_BCHW.device.type == "cuda"
        drawn = self._ahead(draw, (purpose, shape), step) if on_gpu else draw(step)
        return host.send(drawn, x_BCHW.device).to(x_BCHW.dtype)

    def _draw(self, purpose: str, shape: Sequence[int], step: int) -> Tensor:
        """float32, on the CPU."""
        rows = [
            example_normal(self.seed, example_id, self.stage + purpose, step, shape)
            for example_id in self.example_ids
        ]
        return torch.from_numpy(np.stack(rows))
