"""Noise per example: a counter-based stream for each (seed, example, purpose, step).

Noise is drawn on the CPU in float32, whatever the device and dtype of the run. An example sees the
same noise in any batch, order, shard or resumed run, and no global generator is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from sde_edit.diffusion.streams import named_generator

if TYPE_CHECKING:
    from torch import Tensor


def example_normal(
    seed: int, example_id: str, purpose: str, step: int, shape: Sequence[int]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Standard normal float32 array of this shape, which depends only on the arguments."""
    rng = named_generator(f"{seed}\x1f{example_id}\x1f{purpose}\x1f{step}")
    return rng.standard_normal(tuple(shape), np.float32)


@dataclass(frozen=True)
class Noise:
    """The noise of a batch of examples."""

    seed: int
    example_ids: tuple[str, ...]
    stage: str = ""  # a part of the edit with noise of its own; prefixed to every purpose

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
        rows = [
            example_normal(self.seed, example_id, self.stage + purpose, step, x_BCHW.shape[1:])
            for example_id in self.example_ids
        ]
        return torch.from_numpy(np.stack(rows)).to(x_BCHW)
