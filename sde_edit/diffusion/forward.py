"""The forward process, which takes an image to noise without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid

if TYPE_CHECKING:
    from torch import Tensor


def add_noise(x_0: Tensor, noise: Tensor, alpha: float) -> Tensor:
    """Eq. 1: x_t = sqrt(alpha_t) x_0 + sqrt(1 - alpha_t) noise. alpha is alpha_bar."""
    x_t: Tensor = alpha**0.5 * x_0 + (1 - alpha) ** 0.5 * noise
    return x_t


def forward_process(x_BCHW: Tensor, grid: Grid, noise: Noise) -> Tensor:
    """All states [N+1, B, C, H, W], noisiest first, by Eq. 7 from x at the last time of the grid:

    x_s = sqrt(alpha_s / alpha_t) x_t + sqrt(1 - alpha_s / alpha_t) w. N is the number of steps.
    """
    path = [x_BCHW]
    for t, a_t, a_s in grid.reversed().intervals():
        w = noise.like(x_BCHW, "forward", int(t))
        path.append((a_s / a_t) ** 0.5 * path[-1] + (1 - a_s / a_t) ** 0.5 * w)
    return torch.stack(path[::-1])


def independent_noise(x_BCHW: Tensor, grid: Grid, noise: Noise) -> Tensor:
    """All states [N+1, B, C, H, W], noisiest first, each with noise of its own, from x at the last
    time t of the grid: x_s = sqrt(alpha_s / alpha_t) x_t + sqrt(1 - alpha_s / alpha_t) w_s.

    At every time they are distributed as those of `forward_process`, but jointly they are not. With
    alpha_t = 1, x_t is an image and this is Eq. 1.
    """
    path = [x_BCHW]
    for s, a_s in zip(grid.t[-2::-1], grid.alpha[-2::-1], strict=True):
        path.append(add_noise(x_BCHW, noise.like(x_BCHW, "forward", int(s)), a_s / grid.alpha[-1]))
    return torch.stack(path[::-1])
