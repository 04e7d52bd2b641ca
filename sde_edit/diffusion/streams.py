"""Counter-based generators by name; without torch, so that reports may draw too."""

from __future__ import annotations

import hashlib

import numpy as np


def named_generator(name: str) -> np.random.Generator:
    """A counter-based generator whose stream depends only on the name."""
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))
