"""The bootstrap's resamplings of examples, which are the same for every run over the same examples.

Letters: B resamplings, N examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sde_edit.diffusion.streams import named_generator


def resampled(ids: Sequence[str], resamplings: int) -> NDArray[np.float64]:
    """How often each resampling draws each of the sorted ids: float64 [B, N].

    The counts depend on the ids alone, so runs over the same examples are resampled alike and
    differences of their replicates are paired. Asking for more resamplings keeps the first ones.
    """
    rng = named_generator("\x1f".join(sorted(ids)))
    counts_BN = np.empty((resamplings, len(ids)))
    for row in counts_BN:
        row[:] = np.bincount(rng.integers(len(ids), size=len(ids)), minlength=len(ids))
    return counts_BN
