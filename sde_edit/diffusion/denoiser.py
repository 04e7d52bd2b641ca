"""What samplers call and what they are called with: the network eps(x, t) and the task's edit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

# project(x, i) edits the state x at the i-th time of the grid.
Project = Callable[["Tensor", int], "Tensor"]


def no_edit(x: Tensor, i: int) -> Tensor:
    """The Project that leaves every state as it is."""
    return x


class Denoiser(Protocol):
    """eps_theta(x_t, t) of a batch, with prompts and guidance bound; t [B] is on the CPU."""

    def __call__(self, x_BCHW: Tensor, t_B: Tensor) -> Tensor: ...


def at(eps: Denoiser, x_BCHW: Tensor, t: float) -> Tensor:
    """eps(x, t) with the same time for every row."""
    return eps(x_BCHW, same_time(x_BCHW, t))


def same_time(x_BCHW: Tensor, t: float) -> Tensor:
    """t once per row of x: [B], in the dtype of x, on the CPU, where a read waits for nothing."""
    return x_BCHW.new_full((len(x_BCHW),), t, device="cpu")
