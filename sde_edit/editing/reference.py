"""eps of an edit whose self-attention refers to the source at the same time.

Letters in tensor names: as in sde_edit/api; N steps of the grid; K, D tokens and their width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sde_edit.api.model import AttentionAccess
from sde_edit.diffusion import host
from sde_edit.diffusion.schedule import Grid
from sde_edit.networks.attention import Reference

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ReferenceDenoiser:
    """eps whose self-attention refers to the source's state, which costs a second evaluation.

    reference: the layers that refer to it; None for none, which costs nothing. grid: the times that
    may be asked. path [N+1, B, C, H, W]: the source's states at these times. text [B, K, D].
    """

    model: AttentionAccess
    reference: Reference | None
    grid: Grid
    path: Tensor
    text_BKD: Tensor

    def eps(self, x_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """A Denoiser for the times of the grid, one for all rows. Raises UserError for another."""
        if not self.reference:
            return self.model.attend(x_BCHW, t_B, self.text_BKD)
        source = self.path[self.grid.index_of(float(host.read(t_B)[0]))].to(x_BCHW)
        both = torch.cat([source, x_BCHW]), t_B.repeat(2), self.text_BKD.repeat(2, 1, 1)
        return self.model.attend(*both, self.reference).chunk(2)[1]
