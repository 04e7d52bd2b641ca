"""From an image to noise: by a sampler's own steps, or by adding noise.

Letters in tensor names: N steps of the grid; else as in sde_edit/api.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from sde_edit.diffusion.denoiser import Denoiser, Project, at
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Inversion:
    """The source image at every time of a grid, and what decode needs to return to it.

    states [N+1, B, C, H, W]: the source at each time, noisiest first. extra: further tensors that
    the sampler's decode reads, also indexed by time, noisiest first.
    """

    states: Tensor
    extra: tuple[Tensor, ...] = ()

    @property
    def latent(self) -> Tensor:
        """The source at the noisiest time [B, C, H, W]: what tasks edit and decode starts from."""
        return self.states[0]

    @classmethod
    def of_pairs(cls, upwards: Sequence[tuple[Tensor, Tensor]]) -> Inversion:
        """From the pairs of states that a coupled sampler visits on its way to noise: the first of
        each pair is the source, and extra is (the second,)."""
        states, second = (torch.stack(part) for part in zip(*upwards[::-1], strict=True))
        return cls(states, (second,))

    def tail(self, i: int) -> Inversion:
        """The inversion on the grid that starts at the i-th time of this one.

        No step of encode depends on where the grid ends, so one inversion serves a sweep of t_0.
        """
        return Inversion(self.states[i:], tuple(part[i:] for part in self.extra))


def encode_by_noising(eps: Denoiser, states: Tensor, grid: Grid) -> Inversion:
    """The encode of Cycle-SDE (Alg. 5) from the states [N+1, B, C, H, W] of a forward process.

    extra is (eps,), with eps [N, B, C, H, W] of states[:-1]. Every call has the rows of a call of
    decode, as networks round otherwise for another number of rows: calls of several times would be
    fewer, and what was not edited would no longer come back in every bit.
    """
    e = [at(eps, x, t) for x, t in zip(states[:-1], grid.t[:-1], strict=True)]
    return Inversion(states, (torch.stack(e),))


class _Decode(Protocol):
    def __call__(
        self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise, project: Project
    ) -> Tensor: ...


def invert(decode: _Decode, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Inversion:
    """The encode of a sampler whose decode also runs from data to noise, on a reversed grid."""
    path: list[Tensor] = []

    def visit(x: Tensor, i: int) -> Tensor:
        path.append(x)
        return x

    decode(eps, x_BCHW, grid.reversed(), noise, visit)
    return Inversion(torch.stack(path[::-1]))
