"""What is told of the work on images while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Observer:
    """Follows the work on images. This one takes no notice; others override what they need.

    Each method may raise KeyboardInterrupt, which ends the work as Ctrl-C does.
    """

    def preparing(self, what: str) -> None:
        """A preparation such as a LoRA begins, whose evaluations are no part of the announced cost;
        "" when it has ended."""

    def evaluated(self, rows: int) -> None:
        """The network was called, and has evaluated so many rows since the call before."""

    def reached(self, images: Callable[[], Tensor]) -> None:
        """A task has images on the way to its result: `images` makes them, uint8 [B, H, W, 3]."""
