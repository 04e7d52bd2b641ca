"""A linear map with weights of its own for every example of a batch.

Letters in tensor names: B examples, R rows of a call, P positions.
"""

from __future__ import annotations

from torch import Tensor, nn


class PerExample(nn.Module):
    """A linear map with separate weights [B, out, in] per example; row r uses those of r mod B."""

    def __init__(self, weight_Boi: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight_Boi)

    def forward(self, x_RPi: Tensor) -> Tensor:
        """[R, P, in] -> [R, P, out]; R is a multiple of B."""
        batches = x_RPi.view(-1, len(self.weight), *x_RPi.shape[1:])
        out: Tensor = batches @ self.weight.mT
        return out.flatten(0, 1)
