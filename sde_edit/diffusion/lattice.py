"""Sums without rounding errors, for samplers whose way down must undo their way up bit by bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def on_lattice(x: Tensor) -> Tensor:
    """Round to multiples of 2^-40, which float64 adds without error while below 2^12."""
    return (x * 2.0**40).round() / 2.0**40
