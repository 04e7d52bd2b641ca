"""The textbook form of Cycle-SDE."""

import torch

from tests.numerics.samplers.inputs import edited, prompted, rounded, start


def test_the_textbook_form_does_not():
    eps = rounded(prompted(0.2, 7.5), torch.bfloat16)
    out = edited("sde_textbook", eps, eps, lambda x: x, dtype=torch.float32)
    assert (out - start(torch.float32)).abs().max() > 1e-4
