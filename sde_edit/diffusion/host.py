"""The one way in which values of tensors reach Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


def read(x: Tensor) -> np.ndarray:
    """The values of x, in its shape and dtype, which NumPy must have.

    For a tensor on a GPU the program waits until the GPU has computed it, so a read in every step
    leaves the GPU idle. tests/contracts/test_placement.py counts the reads of every task.
    """
    return x.detach().cpu().numpy()
