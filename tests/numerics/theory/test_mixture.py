"""The mixture of the toy and its schedules."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from sde_edit.theory.mixture import (
    SCHEDULES,
    Mixture,
    cosine,
    even_grid,
    exponential,
    linear,
    time_at,
)

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


def test_linear_is_the_product_of_linear_betas_in_the_limit():
    n = 100_000
    betas = (0.1 + (20 - 0.1) * (np.arange(n) + 0.5) / n) / n
    alpha = np.cumprod(1 - betas)
    assert [linear((i + 1) / n) for i in range(n)] == pytest.approx(alpha, rel=1.1e-3)


def test_exponential_has_geometric_noise_levels():
    t = np.linspace(0, 1, 11)
    sigma = [((1 - exponential(at)) / exponential(at)) ** 0.5 for at in t]
    assert sigma == pytest.approx(np.geomspace(0.01, 50, 11))


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_falls_and_its_times_are_found(name):
    schedule = SCHEDULES[name]
    grid = even_grid(schedule, 1.0, 0.0, 50)
    assert grid.t[1] == 0.98
    assert np.all(np.diff(grid.alpha) > 0)
    assert time_at(schedule, schedule(0.3)) == pytest.approx(0.3)
