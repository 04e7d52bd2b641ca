"""One item of a data set. Images are uint8 RGB; masks float32 in [0, 1], 1 = hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Mask = NDArray[np.float32]

Point = tuple[float, float]  # (x, y) in pixels of the image, x to the right and y down


@dataclass(frozen=True)
class Drag:
    """The content at `source` should move to `target`."""

    source: Point
    target: Point


@dataclass(frozen=True)
class Example:
    """One item of a data set, decoded.

    image [H, W, 3]: the image to edit.
    caption: describes the image.
    mask [H, W] in [0, 1]: 1 = hidden, or to be changed.
    truth [H, W, 3]: the correct result; None if it is unknown.
    target: describes the result; "" if the data set asks for no change.
    reference [H, W, 3]: another image that the target describes. It is not the correct result for
    this example, but belongs to the set whose distribution the outputs should have; None: the
    truth, or else the image, belongs to that set.
    hint [H, W, 3]: the input of a control net, such as a scribble.
    words: those of caption and target that the edit is about, separated by blanks; "" if the data
    set names none.
    drags: which points should move, and to where.
    novel: what of it the embedded model and recogniser were not trained on; "" for nothing. Metrics
    that would need to know it refuse the example.
    """

    id: str
    image: Pixels
    caption: str = ""
    mask: Mask | None = None
    truth: Pixels | None = None
    target: str = ""
    reference: Pixels | None = None
    hint: Pixels | None = None
    words: str = ""
    drags: tuple[Drag, ...] = ()
    novel: str = ""

    @property
    def prompt(self) -> str:
        """What the output should show: the target, or the caption where no change is asked for."""
        return self.target or self.caption
