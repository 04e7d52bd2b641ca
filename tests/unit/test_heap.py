"""Freed memory stays for the next layer of a network, and goes back while images are scored."""

import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import resource
import numpy as np
from sde_edit.heap import freed_blocks_returned, keep_freed_blocks

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(32):
        np.ones(2**23, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_blocks()
page_faults()  # the first block grows the heap
kept = page_faults()
with freed_blocks_returned():
    returned = page_faults()
page_faults()
print(kept, returned, page_faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc, whose settings these are")
def test_blocks_are_kept_before_and_after_scoring() -> None:
    program = [sys.executable, "-c", _PROGRAM]
    shown = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    kept, returned, kept_again = map(int, shown.split())
    assert max(kept, kept_again) * 10 < returned
