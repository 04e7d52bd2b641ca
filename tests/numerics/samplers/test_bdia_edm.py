"""BDIA for EDM's sampler, against both written in EDM's own terms."""

import numpy as np
import pytest
import torch

from sde_edit.api.example import Example
from sde_edit.diffusion.noise import Noise
from sde_edit.errors import UserError
from sde_edit.registry import build
from tests.builders import build_task
from tests.numerics.samplers.inputs import NOISE, SCHEDULE, decode, exact, network, sampler, start

EDM = {end: SCHEDULE.grid(18, "karras", end) for end in ("sigma_min", "zero")}


def edm(eps, x_T, grid, gamma):
    """EDM's Alg. 1 without churn in y = x / sqrt(alpha) and sigma / sqrt(alpha), where dy/dsigma is
    (y - D(y; sigma)) / sigma; with gamma, Eq. 23 with the average slope in both time slots."""
    sigma = [((1 - a) / a) ** 0.5 for a in grid.alpha]

    def slope(y, i):
        root = grid.alpha[i] ** 0.5
        e = eps(root * y, torch.full((2,), grid.t[i], dtype=torch.float64))
        denoised = y - sigma[i] * e
        return (y - denoised) / sigma[i]

    y, past = x_T / grid.alpha[0] ** 0.5, None
    for i in range(grid.steps):
        d, h = slope(y, i), sigma[i + 1] - sigma[i]
        towards = h * d
        if sigma[i + 1] > 0:
            towards = h * (d + slope(y + h * d, i + 1)) / 2
        ahead = y + towards
        if past:
            y_prev, d_prev = past
            backwards = (sigma[i - 1] - sigma[i]) * (d + d_prev) / 2
            ahead = y_prev - (1 - gamma) * (y_prev - y) - gamma * backwards + towards
        past, y = (y, d), ahead
    return y * grid.alpha[-1] ** 0.5


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("end", ["sigma_min", "zero"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_it_is_edms_sampler_with_the_backward_estimate(end, guidance, gamma):
    grid, eps = EDM[end], exact("low", guidance)
    out = decode("bdia_edm", grid, eps, gamma=gamma)
    torch.testing.assert_close(out, edm(eps, start(), grid, gamma), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 1.0])
@pytest.mark.parametrize(("end", "evaluations"), [("sigma_min", 36), ("zero", 35)])
def test_the_backward_estimate_costs_no_evaluation(end, evaluations, gamma):
    calls = []

    def eps(x, t):
        calls.append(float(t[0]))
        return network(x, t)

    sampler("bdia_edm", gamma=gamma).decode(eps, start(), EDM[end], NOISE)
    assert len(calls) == evaluations


@pytest.mark.parametrize("guidance", [1.0, 3.0, 7.5])
def test_it_is_nearer_to_the_solution_than_edms_sampler(guidance):
    eps = exact("low", guidance)
    fine = decode("ode2", SCHEDULE.grid(999, "linspace", "zero"), eps)

    def error(gamma):
        return float((decode("bdia_edm", EDM["zero"], eps, gamma=gamma) - fine).square().mean())

    assert error(0.5) < 0.7 * error(0.0)


@pytest.mark.parametrize("gamma", [-0.1, 1.1])
def test_a_weight_that_is_none_is_refused(gamma):
    with pytest.raises(UserError, match=r"sampler\.gamma=.* from 0 to 1"):
        sampler("bdia_edm", gamma=gamma)


@pytest.mark.parametrize(
    ("kind", "prompt", "guidance"), [("ddpm", "", 1.0), ("adm", "n02129165 lion", 3.0)]
)
def test_models_in_pixel_space_sample_by_it(kind, prompt, guidance, request):
    """On EDM's grid, in 2n - 1 evaluations."""
    folder = request.getfixturevalue(f"tiny_{kind}")
    source = build("models", kind, {"path": str(folder), "resolution": 16})
    model = source.load("cpu", "float64")
    task = build_task("sample", prompt=prompt, guidance=guidance)
    examples = [Example(i, np.zeros((16, 16, 3), np.uint8)) for i in ("a", "b")]
    grid, noise = source.schedule().grid(8, "karras", "zero"), Noise(0, ("a", "b"))
    with torch.inference_mode():
        images = task.edit(examples, model, sampler("bdia_edm"), grid, noise)
    assert model.evaluations == 2 * 15
    assert images.shape == (2, 16, 16, 3)
    assert not torch.equal(images[0], images[1])
