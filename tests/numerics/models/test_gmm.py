"""The Gaussian mixture: its eps against autograd and quadrature, samplers against what is known."""

import math

import numpy as np
import pytest
import torch

from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import half_log_snr
from sde_edit.errors import UserError
from sde_edit.models.gmm import GMM, Component
from sde_edit.registry import build

PLANE = GMM(
    (2, 1, 1),
    (
        Component("left", (-2.0, 0.5), 0.3, 2.0),
        Component("right", (1.5, -1.0), 0.5, 1.0),
        Component("right", (2.5, 1.0), 0.2, 1.0),
    ),
)
ONE = GMM((1, 1, 1), (Component("it", 1.5, 0.5),))


def eps_of(source, prompts, guidance=1.0, dtype="float64"):
    return source.load("cpu", dtype).denoiser(prompts, guidance)


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


# ------------------------------------------------------------------ eps


def log_density(source, x, alpha, name=""):
    """log q_t up to a constant, written plainly."""
    terms = []
    for part in source.components:
        if name in ("", part.name):
            v = alpha * part.sd**2 + 1 - alpha
            mean = alpha**0.5 * torch.tensor(part.mean, dtype=x.dtype)
            d = len(mean)
            away = (x.flatten(1) - mean).square().sum(1)
            terms.append(math.log(part.weight) - d / 2 * math.log(v) - away / (2 * v))
    return torch.stack(terms).logsumexp(0)


@pytest.mark.parametrize("name", ["", "left", "right"])
@pytest.mark.parametrize("t", [0, 10, 300, 999])
def test_eps_is_the_score_of_the_noised_mixture(name, t):
    x = (2 * normal(5, 2, 1, 1)).requires_grad_()
    alpha = PLANE.schedule().alpha[t]
    (score,) = torch.autograd.grad(log_density(PLANE, x, alpha, name).sum(), x)
    eps = eps_of(PLANE, [name] * 5)(x.detach(), torch.full((5,), float(t)))
    torch.testing.assert_close(eps, -((1 - alpha) ** 0.5) * score, rtol=1e-10, atol=1e-10)


def test_guidance_is_linear_in_eps():
    x, t = normal(4, 2, 1, 1), torch.full((4,), 300.0)
    null, cond = (eps_of(PLANE, [name] * 4)(x, t) for name in ("", "right"))
    torch.testing.assert_close(eps_of(PLANE, ["right"] * 4, 4.0)(x, t), 4 * cond - 3 * null)
    torch.testing.assert_close(eps_of(PLANE, ["right"] * 4, 0.0)(x, t), null)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_eps_is_finite_far_from_all_components(dtype):
    """The weights of the components underflow there, their logarithms do not."""
    far = torch.full((1, 2, 1, 1), 1e4, dtype=dtype)
    eps = eps_of(PLANE, [""])(far, torch.zeros(1))
    assert eps.isfinite().all()
    assert eps.dtype == dtype
    points = GMM((1, 1, 1), (Component("a", -1.0, 0.0), Component("b", 1.0, 0.0)))
    assert eps_of(points, [""])(far[:, :1], torch.zeros(1)).isfinite().all()


def test_a_mean_may_be_a_number_one_per_channel_or_all():
    means = (0.3, (0.3, 0.3), (0.3,) * 8)
    x, t = normal(1, 2, 2, 2), torch.full((1,), 50.0)
    said = [eps_of(GMM((2, 2, 2), (Component("a", m, 0.1),)), [""])(x, t) for m in means]
    assert torch.equal(said[0], said[1])
    assert torch.equal(said[0], said[2])
    red = GMM((3, 2, 2), (Component("red", (1.0, 0.0, 0.0), 0.1),)).load("cpu", "float64")
    assert red.mean_KD.view(3, 2, 2)[:, 0, 1].tolist() == [1, 0, 0]


@pytest.mark.parametrize(("settings", "message"), [
    ({"components": []}, "at least one"),
    ({"shape": [3, 0, 8]}, "positive"),
    ({"components": [{"name": "a", "mean": [1, 2], "sd": 1}]}, r"\[0\]\.mean has 2 .*3 or 192"),
    ({"components": [{"name": "a", "mean": 0, "sd": -1}]}, "sd must not be negative"),
    ({"components": [{"name": "", "mean": 0, "sd": 1}]}, "empty prompt"),
    ({"components": [{"name": "a", "mean": 0, "std": 1}]}, "std"),
])  # fmt: skip
def test_refuses_settings(settings, message):
    given = {"shape": [3, 8, 8], "components": [{"name": "a", "mean": 0, "sd": 1}]} | settings
    with pytest.raises(UserError, match=message):
        build("models", "gmm", given)


def test_names_the_classes_it_knows():
    with pytest.raises(UserError, match=r"'rigt' is no class .*'right'\?.*Known: left, right"):
        eps_of(PLANE, ["rigt"])
    with pytest.raises(UserError, match="is no class"):
        PLANE.load("cpu", "float64").denoiser(["left"], 2.0, ["ugly"])


def test_refuses_images_of_another_size():
    with pytest.raises(UserError, match=r"model\.shape"):
        PLANE.load("cpu", "float64").encode(torch.zeros(1, 4, 4, 3, dtype=torch.uint8))


def test_digest_is_of_all_settings():
    other = GMM(PLANE.shape, PLANE.components[:2])
    assert len({PLANE.digest(), other.digest(), ONE.digest()}) == 3


# ------------------------------------------------------------------ samplers on one Gaussian

FIRST = ("ode", "sde", "sde_textbook", "ef", "edict")
SECOND = ("ode2", "sde2", "plms", "bdia", "obelm", "bdia_edm")
STOCHASTIC = ("sde", "sde2", "sde_textbook", "ef")


def even_grid(steps):
    """Evenly spaced in lambda between the times 900 and 100, where the orders are defined; times
    between train times, where log alpha is linear."""
    table = np.array(ONE.schedule().alpha)
    ends = [half_log_snr(float(table[t])) for t in (900, 100)]
    alpha = 1 / (1 + np.exp(-2 * np.linspace(*ends, steps + 1)))
    t = np.interp(np.log(alpha), np.log(table)[::-1], np.arange(1000.0)[::-1])
    return Grid(tuple(t.tolist()), tuple(alpha.tolist()))


class Impulses:
    """Stands in for Noise: row 0 gets none, row i + 1 the unit at step i."""

    def like(self, x, purpose, step=0):
        w = torch.zeros_like(x)
        w[step + 1] = 1
        return w


def moments(kind, steps):
    """(mean, variance) of x at the end given x_T = 2; exact, for eps is affine in x and every row
    answers for one step's noise."""
    grid = even_grid(steps)
    x = torch.full((steps + 1, 1, 1, 1), 2.0, dtype=torch.float64)
    eps = eps_of(ONE, [""] * len(x))
    out = build("samplers", kind, {}).decode(eps, x, grid, Impulses()).flatten()
    return float(out[0]), float((out[1:] - out[0]).square().sum())


def exact(kind, grid):
    """The ODE carries z-scores unchanged; the SDE's end given its start is the posterior of the
    forward process, whose correlation of x_s and x_t is sqrt(a_s / a_t) v_t / sqrt(v_s v_t)."""
    (a_s, a_t), m, s2 = (grid.alpha[0], grid.alpha[-1]), 1.5, 0.25
    v_s, v_t = a_s * s2 + 1 - a_s, a_t * s2 + 1 - a_t
    away = 2.0 - a_s**0.5 * m
    if kind not in STOCHASTIC:
        return a_t**0.5 * m + (v_t / v_s) ** 0.5 * away, 0.0
    gain = (a_s / a_t) ** 0.5 * v_t / v_s
    return a_t**0.5 * m + gain * away, v_t - gain**2 * v_s


@pytest.mark.parametrize("kind", FIRST + SECOND)
def test_every_sampler_converges_to_the_closed_form(kind):
    """At the rate of its order. Of an SDE's end the mean is right at any step, for the expected x_0
    stays what it is along the mean path; the variance converges."""
    errors = []
    for steps in (64, 128, 256):
        wanted = exact(kind, even_grid(steps))
        errors.append(np.abs(np.subtract(moments(kind, steps), wanted)))
    mean, variance = np.array(errors).T
    if kind in STOCHASTIC:
        assert mean.max() < 1e-12
    else:
        assert variance.max() == 0
    order, error = (2 if kind in SECOND else 1), mean + variance
    assert error[-1] < {1: 0.01, 2: 1e-4}[order]
    assert np.log2(error[-2] / error[-1]) == pytest.approx(order, abs=0.15)


# ------------------------------------------------------------------ samples of a mixture


def mixture_moments(source, name=""):
    """Mean [D] and covariance [D, D] of x_0."""
    parts = [part for part in source.components if name in ("", part.name)]
    w = np.array([part.weight for part in parts])
    w /= w.sum()
    m = np.array([part.mean for part in parts])
    mean = w @ m
    spread = sum(w_k * (part.sd**2) for w_k, part in zip(w, parts, strict=True))
    return mean, (m - mean).T @ np.diag(w) @ (m - mean) + spread * np.eye(len(mean))


class Quick(Noise):
    """The noise of many rows in one draw per step."""

    def like(self, x, purpose, step=0):
        return normal(*x.shape, seed=[step, len(purpose)]).to(x)


@pytest.mark.parametrize("name", ["", "right"])
@pytest.mark.parametrize("kind", ["ode", "sde"])
def test_samples_have_the_mean_and_covariance_of_the_mixture(kind, name):
    """Within 4 standard errors of the estimates (those of the covariance from the samples' own
    fourth moments) and 0.05 for 100 steps, whose own error is 0.046 at most, measured once with
    100,000 samples."""
    n, steps, own = 2000, 100, 0.05
    eps = eps_of(PLANE, [name] * n)
    noise = Quick(0, ("many",))
    x_T = noise.like(torch.empty(n, 2, 1, 1, dtype=torch.float64), "init")
    grid = PLANE.schedule().grid(steps)
    x = build("samplers", kind, {}).decode(eps, x_T, grid, noise).flatten(1).numpy()
    mean, covariance = mixture_moments(PLANE, name)
    assert (np.abs(x.mean(0) - mean) < 4 * x.std(0) / n**0.5 + own).all()
    products = np.einsum("ni,nj->nij", x - x.mean(0), x - x.mean(0))
    error = np.abs(products.mean(0) - covariance)
    assert (error < 4 * products.std(0) / n**0.5 + own).all()
