"""The samplers over a toy eps, against its closed form."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import sde_edit as se

ALPHA = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


def eps(x, t):
    """Of data N(3, 0.25)."""
    a = torch.from_numpy(ALPHA).to(x)[t.long()].view(-1, 1, 1, 1)
    return (1 - a) ** 0.5 * (x - a**0.5 * 3) / (a * 0.25 + 1 - a)


@pytest.mark.parametrize("name", ["ode", "sde", "ode2", "sde2"])
def test_samplers_sample_the_data(name):
    noise = se.noise(seed=0, rows=64)
    x = noise.like(torch.empty(64, 1, 8, 8, dtype=torch.float64), "init")
    out = se.sampler(name).decode(eps, x, se.grid(ALPHA, 200, last_sigma="zero"), noise)
    assert float(out.mean()) == pytest.approx(3, abs=0.05)
    assert float(out.std()) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("name", ["sde", "bdia", "edict"])
def test_an_exact_inversion_returns_to_its_source(name):
    sampler, grid, noise = se.sampler(name), se.grid(ALPHA, 20), se.noise(rows=2)
    x = noise.like(torch.empty(2, 1, 4, 4, dtype=torch.float64), "data")
    inversion = sampler.encode(eps, x, grid, noise)
    out = sampler.decode(eps, inversion.latent, grid, noise, inversion=inversion)
    assert float((out - x).abs().max()) < 1e-9


def test_settings_may_be_given():
    assert se.sampler("bdia").gamma == 1.0
    assert se.sampler("bdia", gamma=0.5).gamma == 0.5


def test_it_needs_no_hydra_and_no_network():
    code = (
        "import sys, sde_edit as se; se.sampler('sde'), se.noise(), se.grid([0.9, 0.5, 0.1], 2); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" in done.stdout.split()
    assert not {"hydra", "omegaconf", "diffusers", "transformers"} & {*done.stdout.split()}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: se.sampler("odd"), "no sampler 'odd'"),
        (lambda: se.sampler("bdia", gama=1), "Did you mean 'gamma'"),
        (lambda: se.sampler("external", outputs="x"), "it has no steps"),
        (lambda: se.grid([0.5, 0.9], 1), "decrease from the data"),
        (lambda: se.grid([1.5, 0.9], 1), "decrease from the data"),
        (lambda: se.grid([0.9, 0.0], 1), "decrease from the data"),
        (lambda: se.grid([0.9, float("nan")], 1), "decrease from the data"),
        (lambda: se.grid(0.5, 1), "decrease from the data"),
        (lambda: se.grid(ALPHA, 0), "steps=0"),
        (lambda: se.grid(ALPHA, 5, spacing="even"), "spacing='even'"),
        (lambda: se.noise(rows=0), "rows=0"),
    ],
)
def test_what_has_no_meaning_is_refused(call, said):
    with pytest.raises(se.UserError, match=said):
        call()


def test_a_grid_takes_any_form_of_numbers():
    assert se.grid(torch.from_numpy(ALPHA), 5) == se.grid(list(ALPHA), 5) == se.grid(ALPHA, 5)
