"""Inversion, to the last digit: Cycle-SDE in two forms, BDIA's propositions, EDICT, PLMS."""

import numpy as np
import pytest
import torch
from diffusers import PNDMScheduler

from sde_edit.diffusion.denoiser import no_edit
from sde_edit.diffusion.forward import forward_process
from sde_edit.diffusion.inversion import Inversion, encode_by_noising
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.diffusion.steps import ddim
from sde_edit.registry import build
from sde_edit.samplers.bdia import on_lattice

SCHEDULE = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000)
GRID = SCHEDULE.grid(20)
NOISE = Noise(seed=3, example_ids=("a", "b"))


def network(x, t):
    """An arbitrary smooth function of x and t that mixes pixels and channels."""
    shifted = x.roll(1, -1) + 0.5 * x.roll(1, 1)
    return torch.tanh(shifted * torch.cos(t / 300).view(-1, 1, 1, 1) + 0.1) + 0.2 * x


def prompted(shift, guidance=1.0):
    """The network under another prompt, with guidance. Mild: strong guidance can make errors
    grow 1e12-fold in decode, and then no two orders of summation agree."""

    def eps(x, t):
        null = network(x, t)
        return null + guidance * (0.3 * torch.sin(x + shift) - shift * null)

    return eps


def rounded(eps, dtype):
    """A network that works in another dtype, as the real ones do."""
    return lambda x, t: eps(x.to(dtype).float(), t.float()).to(dtype).to(x.dtype)


def start(dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(0).standard_normal((2, 4, 6, 6))).to(dtype)


def sampler(kind, **settings):
    return build("samplers", kind, settings)


def edited(kind, source, target, edit, grid=GRID, dtype=torch.float64, project=no_edit, **settings):
    """Encode under `source`, `edit` the latent, decode under `target`."""
    method = sampler(kind, **settings)
    inversion = method.encode(source, start(dtype), grid, NOISE)
    return method.decode(target, edit(inversion.latent), grid, NOISE, project, inversion)


# ------------------------------------------------------------------ Cycle-SDE


@pytest.mark.parametrize("guidance", [0.0, 1.0, 7.5])
@pytest.mark.parametrize("shift", [0.0, 0.7])
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
def test_both_forms_of_cycle_sde_agree(guidance, shift, spacing):
    """Arbitrary networks, prompts, guidance and edits."""
    grid = SCHEDULE.grid(20, spacing)
    source, target = prompted(0.2, guidance), prompted(shift, guidance)

    def edit(x):
        return torch.where(x > 0.5, x.roll(2, -1), x)

    def project(x, i):
        return x if i % 3 else 0.9 * x

    difference, textbook = (
        edited(kind, source, target, edit, grid, project=project)
        for kind in ("sde", "sde_textbook")
    )
    torch.testing.assert_close(difference, textbook, rtol=1e-9, atol=1e-9)
    assert (difference - start()).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("guidance", [1.0, 7.5, 15.0])
@pytest.mark.parametrize("kind", ["sde", "sde2", "bdia"])
def test_what_was_not_edited_comes_back_in_every_bit(kind, guidance, dtype):
    eps = rounded(prompted(0.2, guidance), dtype)
    x_0 = on_lattice(start().float().double()).float()
    method = sampler(kind)
    inversion = method.encode(eps, x_0, GRID, NOISE)
    out = method.decode(eps, inversion.latent, GRID, NOISE, no_edit, inversion)
    assert torch.equal(out.float(), x_0)


def test_the_textbook_form_does_not():
    eps = rounded(prompted(0.2, 7.5), torch.bfloat16)
    out = edited("sde_textbook", eps, eps, lambda x: x, dtype=torch.float32)
    assert (out - start(torch.float32)).abs().max() > 1e-4


def test_cycle_sde_ends_without_noise_too():
    """At alpha = 1, where Alg. 5 would divide by sigma = 0."""
    grid = SCHEDULE.grid(20, "linspace", "zero")
    out = edited("sde", network, network, lambda x: x, grid)
    assert torch.equal(out, start())


def test_the_source_asks_the_network_once_for_all_times():
    calls = []

    def eps(x, t):
        calls.append(len(x))
        return network(x, t)

    encode_by_noising(eps, start(), GRID, NOISE)
    assert calls == [2 * GRID.steps]


def test_forward_trajectory_has_the_moments_of_eq_7():
    """x_s = sqrt(a_s) x_0 + sqrt(1 - a_s) w at every time, whatever steps led there."""
    noise = Noise(0, tuple(f"{i}" for i in range(300)))
    grid = SCHEDULE.grid(8, "linspace", "zero")
    x = forward_process(torch.full((300, 1, 8, 8), 2.0, dtype=torch.float64), grid, noise)
    for x_s, a in zip(x, grid.alpha, strict=True):
        n = x_s.numel()
        assert float(x_s.mean()) == pytest.approx(2 * a**0.5, abs=5 * ((1 - a) / n) ** 0.5 + 1e-12)
        assert float(x_s.var()) == pytest.approx(1 - a, abs=5 * (1 - a) * (2 / n) ** 0.5 + 1e-12)


@pytest.mark.parametrize(
    "kind", ["ode", "ode2", "sde", "sde2", "sde_textbook", "bdia", "edict", "none"]
)
def test_one_inversion_serves_a_sweep_of_t_0(kind):
    method = sampler(kind)
    whole = method.encode(network, start(), GRID, NOISE)
    torch.testing.assert_close(whole.states[-1].float(), start().float())
    for t_0 in (0.3, 0.5, 0.8):
        part = GRID.truncated(t_0)
        own = method.encode(network, start(), part, NOISE)
        shared = whole.tail(GRID.steps - part.steps)
        both = zip((own.states, *own.extra), (shared.states, *shared.extra), strict=True)
        for alone, cut in both:
            torch.testing.assert_close(alone, cut, rtol=1e-12, atol=1e-12)


# ------------------------------------------------------------------ BDIA


def test_bdia_with_gamma_0_is_ddim():
    x = sampler("bdia", gamma=0.0).decode(network, start(), GRID, NOISE)
    torch.testing.assert_close(
        x, sampler("ode").decode(network, start(), GRID, NOISE), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("gamma", [0.9, 0.95, 1.0])
def test_bdia_inverts_up_to_round_off(gamma):
    out = edited("bdia", network, network, lambda x: x, gamma=gamma)
    torch.testing.assert_close(out, start(), rtol=1e-10, atol=1e-10)


def states(gamma, eps=network):
    """z at every time of the grid, the noisiest first."""
    seen = {}

    def spy(z, i):
        seen[i] = z
        return z

    sampler("bdia", gamma=gamma).decode(eps, start(), GRID, NOISE, spy)
    return [seen[i] for i in range(GRID.steps + 1)]


@pytest.mark.parametrize("gamma", [0.3, 0.8, 1.0])
def test_proposition_1_closed_sum(gamma):
    """Eq. 26 and 27; z counted from the noisiest, so their i is N less ours."""
    z, a, n = states(gamma), GRID.alpha, GRID.steps

    def step(j, k):
        """Delta(t_j -> t_k | z_j)."""
        e = network(z[j], torch.full((2,), GRID.t[j], dtype=torch.float64))
        return ddim(z[j], e, a[j], a[k]) - z[j]

    for i in range(2, n + 1):
        total = z[0] + step(i - 1, i)
        for j in range(1, i):
            power = (-gamma) ** (i - j + 1)
            total = total + (1 - power) / (1 + gamma) * step(j - 1, j)
            total = total - (gamma + power) / (1 + gamma) * step(j, j - 1)
        torch.testing.assert_close(z[i], total, rtol=1e-9, atol=1e-9)


def test_proposition_2_time_symmetry():
    """At gamma = 1 the encode update from (z_{i-1}, z_i) is the decode update from (z_{i+1}, z_i)
    with the times exchanged: running decode on the reversed grid undoes it bit by bit."""
    method, z = sampler("bdia"), states(1.0)
    source = Inversion(torch.stack(z[::-1]))
    back = method.decode(network, z[-1], GRID.reversed(), NOISE, no_edit, source)
    assert torch.equal(back, z[0])


@pytest.mark.parametrize(("kind", "decoding", "encoding"), [("bdia", 19, 20), ("edict", 40, 40)])
def test_evaluations_of_a_round_trip(kind, decoding, encoding):
    """BDIA needs as many as DDIM and one fewer in decode, EDICT twice as many."""
    calls = []

    def eps(x, t):
        calls.append(float(t[0]))
        return network(x, t)

    method = sampler(kind)
    inversion = method.encode(eps, start(), GRID, NOISE)
    assert len(calls) == encoding
    method.decode(eps, inversion.latent, GRID, NOISE, no_edit, inversion)
    assert len(calls) == encoding + decoding


# ------------------------------------------------------------------ EDICT


@pytest.mark.parametrize("p", [0.93, 1.0])
def test_edict_inverts_up_to_round_off(p):
    out = edited("edict", network, network, lambda x: x, p=p)
    torch.testing.assert_close(out, start(), rtol=1e-9, atol=1e-9)


def test_edict_step_by_its_equations():
    """Eq. 9 to 12, written with a_i and b_i."""
    grid, p = SCHEDULE.grid(1), 0.93
    (s, a_s, a_t), x = next(iter(grid.intervals())), start()
    a = (a_t / a_s) ** 0.5
    b = (1 - a_t) ** 0.5 - (1 - a_s) ** 0.5 * a
    t = torch.full((2,), s, dtype=torch.float64)
    z_inter = a * x + b * network(x, t)
    y_inter = a * x + b * network(z_inter, t)
    out = sampler("edict", p=p).decode(network, x, grid, NOISE)
    torch.testing.assert_close(out, p * z_inter + (1 - p) * y_inter, rtol=1e-12, atol=1e-12)


# ------------------------------------------------------------------ PLMS


@pytest.mark.parametrize("steps", [3, 10, 25])
def test_plms_agrees_with_diffusers(steps):
    grid = SCHEDULE.grid(steps, "leading")
    scheduler = PNDMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
        skip_prk_steps=True, steps_offset=1, timestep_spacing="leading",
    )  # fmt: skip
    alpha = torch.tensor(SCHEDULE.alpha, dtype=torch.float64)
    scheduler.alphas_cumprod, scheduler.final_alpha_cumprod = alpha, alpha[0]
    scheduler.set_timesteps(steps)
    x = start()
    for t in scheduler.timesteps:
        eps = network(x, t.expand(2).double())
        x = scheduler.step(eps, t, x).prev_sample
    out = sampler("plms").decode(network, start(), grid, NOISE)
    torch.testing.assert_close(out, x, rtol=1e-9, atol=1e-9)
