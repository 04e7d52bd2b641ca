"""What glibc does with memory that is freed: networks want it kept, scoring wants it returned.

Elsewhere than on glibc nothing changes.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # in malloc.h
_MIB = 2**20


def keep_freed_blocks() -> None:
    """Keep freed blocks for the next layer of a network that runs on the CPU.

    A block that is returned to the system comes back as pages of zeros, one fault each. For the
    embedded model in bfloat16 that took 8 % of a compiled call with glibc's own thresholds.
    """
    _set(mmap=32 * _MIB, trim=256 * _MIB)  # 32 MiB is the most that glibc takes


@contextmanager
def freed_blocks_returned() -> Iterator[None]:
    """Give large blocks back to the system as soon as they are freed.

    The rows of a score, which are small and stay, would otherwise lie between freed images and keep
    the heap growing for as long as images come. Kept on, it would slow networks by half: so it ends
    with the block.
    """
    _set(mmap=_MIB // 8, trim=_MIB // 8)
    try:
        yield
    finally:
        keep_freed_blocks()


def _set(*, mmap: int, trim: int) -> None:
    """mmap: bytes from which a block is returned when it is freed. trim: free bytes kept at the
    end of the heap."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, mmap)
        libc.mallopt(_M_TRIM_THRESHOLD, trim)
