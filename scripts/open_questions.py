"""Two questions of docs/open-questions.md on a toy whose score is known.

    python scripts/open_questions.py

The data are an even mixture of two Gaussians on the line, one for each prompt, under Stable
Diffusion's noise schedule. eps is exact, so nothing here is an error of a network.

code        meaning
alpha       alpha_bar
eps         the guided eps, e(x, null) + w (e(x, prompt) - e(x, null))
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sde_edit.diffusion.denoiser import Denoiser, no_edit
from sde_edit.diffusion.guidance import guide
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid, Schedule
from sde_edit.diffusion.steps import half_log_snr
from sde_edit.registry import build
from sde_edit.theory.mixture import Mixture

SCHEDULE = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000)
DATA = Mixture()
GUIDANCE = (1.0, 3.0, 7.5)
POINTS = 4_000


@dataclass(frozen=True)
class Draws(Noise):
    """Noise for many points at once, by purpose and step."""

    def like(self, x_BCHW: Tensor, purpose: str, step: int = 0) -> Tensor:
        seed = 1000 * sum(map(ord, purpose)) + step + 1
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(x_BCHW.shape, generator=generator, dtype=x_BCHW.dtype)


NOISE = Draws(0, ())


def of_prompt(sign: int, guidance: float) -> Denoiser:
    """The guided eps of the component at sign * mu."""

    def eps(x_BCHW: Tensor, t_B: Tensor) -> Tensor:
        alpha = torch.tensor(SCHEDULE.alpha, dtype=x_BCHW.dtype)[t_B.long()].view(-1, 1, 1, 1)
        mean, var = alpha**0.5 * DATA.mu, alpha * DATA.sigma**2 + 1 - alpha
        null = (x_BCHW - mean * torch.tanh(mean * x_BCHW / var)) / var
        own = (x_BCHW - sign * mean) / var
        return (1 - alpha) ** 0.5 * guide(null, own, guidance)

    return eps


def start(n: int = POINTS) -> Tensor:
    return NOISE.like(torch.empty(n, 1, 1, 1, dtype=torch.float64), "init")


# ------------------------------------------------------------------ sampling in few steps
@dataclass(frozen=True)
class FirstOrderEnd(Grid):
    """A grid on whose last step no sampler looks back, whatever the number of steps."""

    def is_second_order(self, i: int) -> bool:
        return 0 < i < self.steps - 1


def sampled(kind: str, grid: Grid, guidance: float) -> Tensor:
    """Sorted samples of the prompt at +mu."""
    method = build("samplers", kind, {})
    return method.decode(of_prompt(1, guidance), start(), grid, NOISE).flatten().sort().values


def second_order() -> list[str]:
    """How far samplers are from their own limit of many steps: Wasserstein-1 distance, and the
    standard deviation as a multiple of the limit's."""
    lines = [
        "| guidance | steps | ODE | ODE2 | SDE | SDE2 | SDE2, last step of order 1 |",
        "|---|---|---|---|---|---|---|",
    ]
    for guidance in GUIDANCE:
        limits = {k: sampled(k, SCHEDULE.grid(999), guidance) for k in ("ode", "sde")}
        for steps in (15, 25, 50, 100):
            grid = SCHEDULE.grid(steps)
            wanted = [(kind, grid) for kind in ("ode", "ode2", "sde", "sde2")]
            wanted.append(("sde2", FirstOrderEnd(grid.t, grid.alpha)))
            cells = [_far(sampled(kind, grid, guidance), limits[kind[:3]]) for kind, grid in wanted]
            lines.append(f"| {guidance:g} | {steps} | {' | '.join(cells)} |")
    return lines


def _far(x: Tensor, limit: Tensor) -> str:
    return f"{float((x - limit).abs().mean()):.3f}, {float(x.std() / limit.std()):.2f}"


def last_jumps() -> list[str]:
    """By which factor the last step extrapolates: half the ratio of its length to the one before,
    in half-log-SNR."""
    lines = ["| steps | last step | the one before | h / (2 h_prev) |", "|---|---|---|---|"]
    for steps in (15, 25, 50, 100):
        before, middle, end = map(half_log_snr, SCHEDULE.grid(steps).alpha[-3:])
        h, h_prev = end - middle, middle - before
        lines.append(f"| {steps} | {h:.2f} | {h_prev:.2f} | {h / (2 * h_prev):.2f} |")
    return lines


# ------------------------------------------------------------------ editing from t_0
def edited(kind: str, t_0: float, guidance: float) -> tuple[Tensor, Tensor]:
    """Points of the component at -mu, and what the prompt at +mu makes of them."""
    grid: Grid = SCHEDULE.grid(100).truncated(t_0)
    x_0 = DATA.sigma * start() - DATA.mu
    method = build("samplers", kind, {})
    inversion = method.encode(of_prompt(-1, guidance), x_0, grid, NOISE)
    target = of_prompt(1, guidance)
    return x_0, method.decode(target, inversion.latent, grid, NOISE, no_edit, inversion)


def strong_edits() -> list[str]:
    """Mean change, and rms distance from the exact edit x_0 + 2 mu."""
    lines = [
        "| guidance | t_0 | change, ODE | change, SDE | error, ODE | error, SDE |",
        "|---|---|---|---|---|---|",
    ]
    for guidance in GUIDANCE:
        for t_0 in (0.3, 0.5, 0.7, 0.8, 0.9):
            pairs = [edited(kind, t_0, guidance) for kind in ("ode", "sde")]
            change = [float((out - x_0).mean()) for x_0, out in pairs]
            error = [float((out - x_0 - 2 * DATA.mu).square().mean() ** 0.5) for x_0, out in pairs]
            cells = " | ".join(f"{value:.3f}" for value in (*change, *error))
            lines.append(f"| {guidance:g} | {t_0} | {cells} |")
    return lines


def main() -> None:
    print("\n".join([*last_jumps(), "", *second_order(), "", *strong_edits()]))


if __name__ == "__main__":
    main()
