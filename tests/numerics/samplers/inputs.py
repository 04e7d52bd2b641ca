"""A made-up network, an exact one, and what samplers do with them."""

import numpy as np
import torch

from sde_edit.diffusion.denoiser import no_edit
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.models.gmm import GMM, Component
from sde_edit.registry import build

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


MIXTURE = GMM(
    (4, 6, 6),
    (Component("low", -0.6, 0.5), Component("high", 0.8, 0.4)),
    beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
)  # fmt: skip


def exact(prompt, guidance=1.0):
    """eps of a mixture of two Gaussians, whose score is known, on the same schedule."""
    return MIXTURE.load("cpu", "float64").denoiser([prompt] * 2, guidance)


def rounded(eps, dtype):
    """A network that works in another dtype, as the real ones do."""
    return lambda x, t: eps(x.to(dtype).float(), t.float()).to(dtype).to(x.dtype)


def start(dtype=torch.float64):
    """The noisy state that decoding starts from, [2, 4, 6, 6]."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal((2, 4, 6, 6))).to(dtype)


def sampler(kind, **settings):
    """A sampler of this kind."""
    return build("samplers", kind, settings)


def edited(kind, source, target, edit, grid=GRID, dtype=torch.float64, project=no_edit, **settings):
    """Encode under `source`, `edit` the latent, decode under `target`."""
    method = sampler(kind, **settings)
    inversion = method.encode(source, start(dtype), grid, NOISE)
    return method.decode(target, edit(inversion.latent), grid, NOISE, project, inversion)


def decode(kind, grid, eps=network, x=None, **settings):
    """What a sampler of this kind makes of x."""
    x = start() if x is None else x
    return sampler(kind, **settings).decode(eps, x, grid, NOISE, no_edit)


def in_float64(scheduler):
    """Give a diffusers scheduler our alpha_bar: its own table is float32."""
    alpha = torch.tensor(SCHEDULE.alpha, dtype=torch.float64)
    scheduler.alphas_cumprod = alpha
    scheduler.alphas = alpha / torch.cat([torch.ones(1, dtype=torch.float64), alpha[:-1]])
    scheduler.betas = 1 - scheduler.alphas
    scheduler.final_alpha_cumprod = alpha[0]
    scheduler.one = torch.tensor(1.0, dtype=torch.float64)
    return scheduler


CONFIG = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
