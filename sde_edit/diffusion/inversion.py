"""Ways up, recorded: by the sampler's own step, or by noise with eps along it in one batch.

Letters in tensor names: N steps of the grid; else as in sde_edit/api.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sde_edit.diffusion.denoiser import Denoiser, Project, Tape
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid


class Trajectory(NamedTuple):
    """A tape of Cycle-SDE. x [N+1, B, C, H, W]: the source at every time of the grid, the noisiest
    first; eps [N, B, C, H, W]: the network's word on it at every time that a step starts from.
    """

    x: Tensor
    eps: Tensor


def since(tape: Tape, i: int) -> Tape:
    """The tape of the grid that starts at the i-th time of this one.

    What happens on the way up does not depend on how far it goes, so one tape serves a whole sweep
    of t_0.
    """
    return tuple(part[i:] for part in tape)


def record(eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Trajectory:
    """x goes up the grid by Eq. 7, which asks no network, so eps of all times is one batch."""
    x = forward(x_BCHW, grid, noise)
    t = torch.tensor(grid.t[:-1], dtype=x.dtype, device=x.device)
    rows = x[:-1].flatten(0, 1)
    return Trajectory(x, eps(rows, t.repeat_interleave(len(x_BCHW))).view_as(x[:-1]))


def forward(x_BCHW: Tensor, grid: Grid, noise: Noise) -> Tensor:
    """x_s = sqrt(alpha_s / alpha_t) x_t + sqrt(1 - alpha_s / alpha_t) w (Eq. 7), at every time of
    the grid [N+1, B, C, H, W], the noisiest first; x is at the last.
    """
    path = [x_BCHW]
    for t, a_t, a_s in grid.reversed().intervals():
        w = noise.like(x_BCHW, "forward", int(t))
        path.append((a_s / a_t) ** 0.5 * path[-1] + (1 - a_s / a_t) ** 0.5 * w)
    return torch.stack(path[::-1])


class _Decode(Protocol):
    def __call__(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise, project: Project
    ) -> Tensor: ...


def upwards(decode: _Decode, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Tape:
    """The way up of a method that is its own: its steps along the reversed grid."""
    path: list[Tensor] = []

    def visit(x: Tensor, i: int) -> Tensor:
        path.append(x)
        return x

    decode(eps, x_BCHW, grid.reversed(), noise, visit)
    return (torch.stack(path[::-1]),)
