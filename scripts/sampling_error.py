"""How far ODE samplers end from the solution, by guidance: two tables for docs/inversion.md.

    python scripts/sampling_error.py

The model is a mixture of two Gaussians whose eps is exact, so all errors are the samplers'. They
are root mean squares over 64 samples [4, 6, 6] of one of the Gaussians, whose standard deviation is
0.5, and count from the solution in 999 steps. The first table has Stable Diffusion's noise schedule
and as many evaluations in every column, the second DDPM's schedule and EDM's grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

import sde_edit as se
from sde_edit.api.sampler import Sampler
from sde_edit.diffusion.schedule import Grid
from sde_edit.models.gmm import GMM, Component

SHAPE = (4, 6, 6)
COMPONENTS = (Component("low", -0.6, 0.5), Component("high", 0.8, 0.4))
LATENT = GMM(SHAPE, COMPONENTS, "scaled_linear", 0.00085, 0.012)
PIXELS = GMM(SHAPE, COMPONENTS, "linear", 1e-4, 0.02)
SAMPLES = 64
INVERSIONS = {
    "DDIM": se.sampler("ode"),
    "BDIA": se.sampler("bdia"),
    "O-BELM": se.sampler("obelm"),
    "EDICT": se.sampler("edict"),
    "coupled BDIA": se.sampler("cbdia"),
    "Rex": se.sampler("rex"),
}
GAMMAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def decoded(model: GMM, sampler: Sampler, grid: Grid, guidance: float) -> Tensor:
    noise = se.noise(rows=SAMPLES)
    x = noise.like(torch.empty(SAMPLES, *SHAPE, dtype=torch.float64), "init")
    eps = model.load("cpu", "float64").denoiser(["low"] * SAMPLES, guidance)
    return sampler.decode(eps, x, grid, noise)


def rms(x: Tensor) -> str:
    return f"{float(x.square().mean().sqrt()):.4f}"


def of_inversions() -> None:
    print(f"| guidance | evaluations | {' | '.join(INVERSIONS)} |")
    print("|---|---|" + "---|" * len(INVERSIONS))
    schedule = LATENT.schedule()
    for guidance in (1.0, 3.0, 7.5, 15.0):
        solution = decoded(LATENT, se.sampler("ode2"), schedule.grid(999), guidance)
        for evaluations in (20, 50, 100):
            cells = []
            for sampler in INVERSIONS.values():
                grid = schedule.grid(evaluations // sampler.evaluations_per_step)
                cells.append(rms(decoded(LATENT, sampler, grid, guidance) - solution))
            print(f"| {guidance:g} | {evaluations} | {' | '.join(cells)} |")


def of_bdia_edm() -> None:
    print(f"| guidance | steps | {' | '.join(f'gamma = {gamma:g}' for gamma in GAMMAS)} |")
    print("|---|---|" + "---|" * len(GAMMAS))
    schedule = PIXELS.schedule()
    for guidance in (1.0, 3.0, 7.5):
        fine = schedule.grid(999, last_sigma="zero")
        solution = decoded(PIXELS, se.sampler("bdia_edm", gamma=0.0), fine, guidance)
        for steps in (10, 18, 40):
            grid = schedule.grid(steps, "karras", "zero")
            samplers = [se.sampler("bdia_edm", gamma=gamma) for gamma in GAMMAS]
            outs = [decoded(PIXELS, sampler, grid, guidance) for sampler in samplers]
            print(f"| {guidance:g} | {steps} | {' | '.join(rms(x - solution) for x in outs)} |")


if __name__ == "__main__":
    of_inversions()
    print()
    of_bdia_edm()
