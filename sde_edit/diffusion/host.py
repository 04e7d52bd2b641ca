"""The ways between Python and a device: values of tensors are read, and those of a step sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor


def read(x: Tensor) -> np.ndarray:
    """The values of x, in its shape and dtype, which NumPy must have.

    For a tensor on a GPU the program waits until the GPU has computed it, so a read in every step
    leaves the GPU idle. tests/contracts/test_placement.py counts the reads of every task.
    """
    return x.detach().cpu().numpy()


def send(x: Tensor, device: torch.device) -> Tensor:
    """x on the device. From the CPU to a GPU the program does not wait for it.

    The GPU fetches the values in its turn, from memory that stays in place until then.
    """
    if x.device.type == "cpu" and device.type == "cuda":
        x = x.pin_memory()
    return x.to(device, non_blocking=True)
