"""What samplers call and are called with: eps(x, t), the edit, the inversion."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

Project = Callable[["Tensor", int], "Tensor"]  # the task's edit of x at the i-th time of the grid
# What a way up leaves, the noisiest first: tape[0][i] is the source at the i-th time of the grid;
# what decode needs beside is the sampler's own, and is indexed by time as well.
Tape = tuple["Tensor", ...]


def no_edit(x: Tensor, i: int) -> Tensor:
    """The Project that edits nothing."""
    return x


class Denoiser(Protocol):
    """eps_theta(x_t, t) with prompt and guidance bound; t holds one time per row.

    x may hold the batch several times over, at other times: row r is of example r mod B.
    """

    def __call__(self, x_BCHW: Tensor, t_B: Tensor) -> Tensor: ...


def at(eps: Denoiser, x_BCHW: Tensor, t: float) -> Tensor:
    """eps(x, t) with every row of x at the same time."""
    return eps(x_BCHW, same_time(x_BCHW, t))


def same_time(x_BCHW: Tensor, t: float) -> Tensor:
    """t for every row of x: [B], in the dtype and on the device of x."""
    return x_BCHW.new_full((len(x_BCHW),), t)
