"""diffusers' pipelines and schedulers on our grids, noise and dtype."""

import json

import torch
from diffusers import (
    DDIMScheduler,
    StableDiffusionPipeline,
)

from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.registry import build

IDS = ("a", "b")
NOISE = Noise(3, IDS)
STEPS = 5
CLOSE = {"rtol": 1e-8, "atol": 1e-8}
BARE = {"safety_checker": None, "requires_safety_checker": False, "feature_extractor": None}


def in_float64(scheduler, schedule):
    """Give a diffusers scheduler our alpha_bar: its own table is float32."""
    alpha = torch.tensor(schedule.alpha, dtype=torch.float64)
    scheduler.alphas_cumprod = alpha
    scheduler.alphas = alpha / torch.cat([torch.ones(1, dtype=torch.float64), alpha[:-1]])
    scheduler.betas = 1 - scheduler.alphas
    scheduler.one = scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    return scheduler


def diffusers_grid(schedule, offset=0):
    """Their "leading" times; the last step starts at the least noisy time and ends at alpha = 1."""
    times = [k * (1000 // STEPS) + offset for k in range(STEPS)][::-1]
    alpha = [schedule.alpha[t] for t in times]
    return Grid((*map(float, times), 0.0), (*alpha, 1.0))


def decode(kind, eps, x, grid):
    with torch.inference_mode():
        return build("samplers", kind, {}).decode(eps, x, grid, NOISE)


def latents(shape):
    return NOISE.like(torch.empty(len(IDS), *shape, dtype=torch.float64), "init")


class Recorded:
    """Hands diffusers our noise, in the order of the draws."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def __call__(self, shape, generator=None, device=None, dtype=None, layout=None):
        return self.draws.pop(0).to(dtype)


def change(file, **settings):
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def pipeline(folder, schedule, cls=StableDiffusionPipeline, **parts):
    pipe = cls.from_pretrained(folder, dtype=torch.float64, **BARE, **parts)
    config = {"clip_sample": False, "set_alpha_to_one": True, "steps_offset": 0}
    pipe.scheduler = in_float64(
        DDIMScheduler.from_config(pipe.scheduler.config, **config), schedule
    )
    pipe.scheduler.register_to_config(steps_offset=1)  # the pipeline insists; ours is set below
    pipe.set_progress_bar_config(disable=True)
    return pipe
