"""What checks share: how one fails, and made-up inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


class BrokenContract(AssertionError):
    """A plug-in does not keep to what it owes; the message says how."""


def require(holds: bool, said: str) -> None:
    """Raises BrokenContract with these words unless the condition holds."""
    if not holds:
        raise BrokenContract(said)


@contextmanager
def generators_alone() -> Iterator[None]:
    """Context manager: raises BrokenContract if torch's or NumPy's global generator was used."""
    torch_before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    yield
    require(torch.equal(torch.get_rng_state(), torch_before), "it draws from torch's generator")
    numpy_after = np.random.get_state()[1]  # type: ignore[index]  # noqa: NPY002
    require(bool((numpy_after == numpy_before).all()), "it draws from NumPy's generator")
