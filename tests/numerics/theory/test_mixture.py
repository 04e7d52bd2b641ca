"""The mixture of the toy and its cosine schedule."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from sde_edit.theory.mixture import Mixture, cosine

DATA = Mixture()


def test_cosine_is_the_product_of_the_clipped_betas():
    n = 1000
    f = [math.cos((i / n + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(n + 1)]
    betas = [min(1 - b / a, 0.999) for a, b in pairwise(f)]
    alpha = np.cumprod([1 - beta for beta in betas])
    assert cosine(0) == 1
    assert [cosine((i + 1) / n) for i in range(n)] == pytest.approx(alpha, rel=1e-9)


@pytest.mark.parametrize("alpha", [1.0, 0.4, 1e-6])
def test_score_is_the_gradient_of_log_q(alpha):
    x = torch.linspace(-3, 3, 61, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(DATA.log_q(x, alpha).sum(), x)
    torch.testing.assert_close(DATA.score(x.detach(), alpha), gradient, rtol=1e-10, atol=1e-10)
