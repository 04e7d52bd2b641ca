"""Classifier-free guidance (Ho and Salimans 2022; the paper's App. A.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def guide(e_null: Tensor, e_cond: Tensor, guidance: float | Tensor) -> Tensor:
    """eps(x, t, null) + guidance (eps(x, t, c) - eps(x, t, null))."""
    guided: Tensor = e_null + guidance * (e_cond - e_null)
    return guided


def rows_per_evaluation(guidance: float) -> int:
    """Rows of the network that one guided eps costs: 1 at guidance 0 and 1, otherwise 2."""
    return 1 if guidance in (0, 1) else 2
