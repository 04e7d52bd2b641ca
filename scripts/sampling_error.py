"""How far ODE samplers end from the solution, by guidance and evaluations: a table for
docs/inversion.md, in seconds.

    python scripts/sampling_error.py

The model is a mixture of two Gaussians on Stable Diffusion's noise schedule, whose eps is exact, so
all errors are the samplers'. They are root mean squares over 64 samples [4, 6, 6] of one of the
Gaussians, whose standard deviation is 0.5. The solution is DPM-Solver++(2M) in 999 steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

import sde_edit as se
from sde_edit.api.sampler import Sampler
from sde_edit.models.gmm import GMM, Component

MODEL = GMM(
    (4, 6, 6),
    (Component("low", -0.6, 0.5), Component("high", 0.8, 0.4)),
    beta_schedule="scaled_linear",
    beta_start=0.00085,
    beta_end=0.012,
)
SAMPLES = 64
GUIDANCE = (1.0, 3.0, 7.5, 15.0)
EVALUATIONS = (20, 50, 100)
SAMPLERS = {
    "DDIM": se.sampler("ode"),
    "BDIA": se.sampler("bdia"),
    "O-BELM": se.sampler("obelm"),
    "EDICT": se.sampler("edict"),
    "coupled BDIA": se.sampler("cbdia"),
    "Rex": se.sampler("rex"),
}


def decoded(sampler: Sampler, steps: int, guidance: float) -> Tensor:
    noise = se.noise(rows=SAMPLES)
    x = noise.like(torch.empty(SAMPLES, *MODEL.shape, dtype=torch.float64), "init")
    eps = MODEL.load("cpu", "float64").denoiser(["low"] * SAMPLES, guidance)
    return sampler.decode(eps, x, MODEL.schedule().grid(steps), noise)


def main() -> None:
    print(f"| guidance | evaluations | {' | '.join(SAMPLERS)} |")
    print("|---|---|" + "---|" * len(SAMPLERS))
    for guidance in GUIDANCE:
        solution = decoded(se.sampler("ode2"), 999, guidance)
        for evaluations in EVALUATIONS:
            cells = []
            for sampler in SAMPLERS.values():
                out = decoded(sampler, evaluations // sampler.evaluations_per_step, guidance)
                cells.append(f"{float((out - solution).square().mean().sqrt()):.4f}")
            print(f"| {guidance:g} | {evaluations} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
