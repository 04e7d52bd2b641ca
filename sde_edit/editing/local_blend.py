"""Prompt-to-Prompt's local blend: only where chosen words are seen may the edit leave its source.

The rule is that of the published code of null-text inversion (github.com/google/prompt-to-prompt).

Letters in tensor names: P positions of an attention map, h x w of them; else as in sde_edit/api.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sde_edit.networks.attention import WordMaps

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LocalBlend:
    """A Project that takes the source's state back where the words are not seen.

    seen: the words' maps in source and target, summed up to the present step.
    path [N+1, B, C, H, W]: the source's states.
    cells: the side of a map's position, in cells of the latent.
    threshold: a cell may change if a map there is above this share of its largest value.
    start: the number of steps before it acts.
    """

    seen: WordMaps
    path: Tensor
    cells: int
    threshold: float
    start: int

    def __call__(self, x_BCHW: Tensor, i: int) -> Tensor:
        """A state that a sampler has before it asks the network stays as it is."""
        acts = i > self.start and self.seen.sum_2BP is not None
        return torch.where(self.mask(), x_BCHW, self.path[i]) if acts else x_BCHW

    def mask(self) -> Tensor:
        """Where the edit may differ from the source; without words everywhere. bool [B, 1, H, W]"""
        assert self.seen.sum_2BP is not None
        maps_2Bhw = self.seen.sum_2BP.view(2, -1, *map_size(self.path, self.cells))
        pooled = torch.nn.functional.max_pool2d(maps_2Bhw, 3, stride=1, padding=1)
        cells = torch.nn.functional.interpolate(pooled, size=self.path.shape[-2:])
        above = cells > self.threshold * cells.amax((2, 3), keepdim=True)
        wordless = ~self.seen.tokens_2BK.any(2).any(0)[:, None, None]
        return (above.any(0) | wordless)[:, None]


def map_size(x: Tensor, cells: int) -> tuple[int, int]:
    """(h, w) of the attention maps over latents x [..., H, W] that are halved to `cells` cells."""
    return math.ceil(x.shape[-2] / cells), math.ceil(x.shape[-1] / cells)
