"""DragDiffusion's optimisation of a latent (Shi et al. 2023): motion supervision, point tracking.

code            paper
F               F(z_t), the features of an up block, resized to a map of size (H', W')
handles         h_i, where the dragged content is now; h_i^0 before the first step
targets         g_i
d               d_i = (g_i - h_i) / |g_i - h_i|, one pixel of the map
wanted          F_{h_i^0}(z_t) of the initial latent
z, z_0          z_{t-1} of the current and of the initial latent, by one step of DDIM
outside         1 - M
r_m, r_p        r_1, r_2, the radii of supervision and of tracking

Letters in tensor names: P pairs of points, N points, C channels; h, w of the features; else as in
sde_edit/api. Points are (x, y) in pixels of the map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sde_edit.api.example import Drag, Point
from sde_edit.api.model import AttentionAccess
from sde_edit.diffusion import host
from sde_edit.diffusion.denoiser import same_time
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddim

if TYPE_CHECKING:
    from torch import Tensor

_NEAR = 1.0  # pixels of the map; SDE-Drag's App. F.6 stops DragDiffusion at "no more than 1 pixel"
Size = tuple[int, int]  # (H', W') of the map


# ------------------------------------------------------------------ the mathematics, of one image
def sampled(F_Chw: Tensor, points_N2: Tensor, size: Size) -> Tensor:
    """The features [C, N] at points of the map, which is F resized to `size`.

    Resizing and sampling are bilinear; points beyond the edge are moved onto it. The map itself is
    never computed: a sampled point is a weighted sum of cells. This takes less memory, and its
    gradient is deterministic, unlike that of an interpolation on a GPU.
    """
    x, y = points_N2.to(F_Chw).unbind(1)
    rows = _hat(y, size[0]) @ _resize(F_Chw, 1, size[0])
    columns = _hat(x, size[1]) @ _resize(F_Chw, 2, size[1])
    return torch.einsum("chw,nh,nw->cn", F_Chw, rows, columns)


def _resize(F_Chw: Tensor, axis: int, to: int) -> Tensor:
    """[to, cells]: the weight of each cell in each pixel of the map; their outer edges align."""
    cells = F_Chw.shape[axis]
    middles = torch.arange(to, dtype=F_Chw.dtype, device=F_Chw.device) + 0.5
    return _hat(middles * (cells / to) - 0.5, cells)


def _hat(at_N: Tensor, n: int) -> Tensor:
    """[N, n]: the weights of the knots 0 .. n-1 in linear interpolation at N places."""
    knots = torch.arange(n, dtype=at_N.dtype, device=at_N.device)
    return (1 - (at_N.clamp(0, n - 1)[:, None] - knots).abs()).clamp_min(0)


def supervision(
    F_Chw: Tensor, handles_P2: Tensor, targets_P2: Tensor, r_m: int, size: Size
) -> Tensor:
    """The sum of |F_{q+d} - sg(F_q)| over the pixels q around each handle; L1 is averaged over
    channels.

    q: the (2 r_m + 1)^2 pixels around a handle. Pairs that have arrived are left out.
    """
    offset = targets_P2 - handles_P2
    active = offset.norm(dim=1) > _NEAR
    d = offset[active] / offset[active].norm(dim=1, keepdim=True)
    q = _square_around(handles_P2[active], r_m, size)
    F_q = sampled(F_Chw.detach(), q.flatten(0, 1), size)
    F_q_plus_d = sampled(F_Chw, (q + d[:, None]).flatten(0, 1), size)
    return (F_q_plus_d - F_q).abs().mean(0).sum()


def tracked(F_Chw: Tensor, handles_P2: Tensor, wanted_CP: Tensor, r_p: int, size: Size) -> Tensor:
    """Point tracking: the new handles [P, 2].

    Each is the pixel whose features are nearest to the wanted ones in L1, among those within r_p
    of the handle along each axis. Ties go to the first pixel, row by row.
    """
    q = _square_around(handles_P2, r_p, size)
    found = sampled(F_Chw, q.flatten(0, 1), size).view(-1, *q.shape[:2])
    best = (found - wanted_CP[:, :, None]).abs().sum(0).argmin(1)
    return q[torch.arange(len(q), device=q.device), best]


def _square_around(points_P2: Tensor, r: int, size: Size) -> Tensor:
    """[P, (2r + 1)^2, 2]: the pixels around each point, row by row, clamped to the map."""
    away = torch.arange(-r, r + 1, device=points_P2.device).to(points_P2)
    y, x = torch.meshgrid(away, away, indexing="ij")
    square = torch.stack([x, y], dim=-1).flatten(0, 1)
    last = points_P2.new_tensor([size[1] - 1, size[0] - 1])
    return torch.minimum((points_P2[:, None] + square).clamp_min(0), last)


# ------------------------------------------------------------------ the state of one image
class DragState:
    """The latent of one image and the positions of its points, while they are optimised."""

    def __init__(self, z_Chw: Tensor, outside_1hw: Tensor, points: tuple[Tensor, Tensor]) -> None:
        self.latent = z_Chw.clone().requires_grad_()
        self.handles, self.targets = (part.to(z_Chw) for part in points)
        self._outside = outside_1hw if host.read(outside_1hw.any()) else None
        self._initial: tuple[Tensor, Tensor] | None = None  # the wanted features, and z_0

    @property
    def arrived(self) -> bool:
        """Whether every handle is within one pixel of its target."""
        return bool(host.read(((self.targets - self.handles).norm(dim=1) <= _NEAR).all()))

    def track(self, F_Chw: Tensor, z_Chw: Tensor, r_p: int, size: Size) -> None:
        """The first call stores the wanted features and z_0; later calls update the handles."""
        with torch.no_grad():
            if self._initial is None:
                self._initial = sampled(F_Chw, self.handles, size), z_Chw.clone()
            else:
                self.handles = tracked(F_Chw, self.handles, self._initial[0], r_p, size)

    def loss(self, F_Chw: Tensor, z_Chw: Tensor, r_m: int, lam: float, size: Size) -> Tensor:
        """Motion supervision plus the sum of lam |(z - z_0) (1 - M)|."""
        assert self._initial
        moving = supervision(F_Chw, self.handles, self.targets, r_m, size)
        if self._outside is None:
            return moving
        return moving + lam * ((z_Chw - self._initial[1]) * self._outside).abs().sum()


# ------------------------------------------------------------------ the optimisation of a batch
@dataclass(frozen=True)
class MotionSupervision:
    """At most `steps` steps of Adam on the latents, with the features of up block `block`.

    lora(rows): a context manager that gives the network the LoRAs of some rows.

    An image stops when all its points have arrived, and costs nothing from then on, so the result
    does not depend on the rest of the batch. Backpropagation through the network counts as one more
    evaluation per row: with fixed weights it costs about as much as the forward pass.
    """

    model: AttentionAccess
    block: int
    r_m: int
    r_p: int
    lam: float
    lr: float
    steps: int
    lora: Callable[[Sequence[int]], AbstractContextManager[None]]

    def optimise(
        self,
        x_BCHW: Tensor,
        text_BKD: Tensor,
        grid: Grid,
        outside_B1HW: Tensor,
        points: Sequence[tuple[Tensor, Tensor]],
        size: Size,
    ) -> Tensor:
        """The optimised latents at grid.t[0]. points: handles and targets of each image."""
        with torch.inference_mode(False):  # inference tensors cannot take part in autograd
            x, text, outside = x_BCHW.clone(), text_BKD.clone(), outside_B1HW.clone()
            states = [DragState(*row) for row in zip(x, outside, points, strict=True)]
            adam = torch.optim.Adam([state.latent for state in states], self.lr)
            active = [b for b, state in enumerate(states) if not state.arrived]
            for _ in range(self.steps):
                if not active:
                    break
                adam.zero_grad()  # Adam skips parameters without a gradient
                active = self._backpropagate(states, active, text, grid, size)
                adam.step()
            return torch.stack([state.latent for state in states]).detach()

    def _backpropagate(
        self,
        states: Sequence[DragState],
        active: Sequence[int],
        text: Tensor,
        grid: Grid,
        size: Size,
    ) -> list[int]:
        """Track the points and backpropagate for rows that have not arrived; return their indices.

        active: the indices of the rows that had not arrived before.
        """
        with torch.enable_grad():
            x = torch.stack([states[b].latent for b in active])
            t = same_time(x, grid.t[0])
            with self.lora(active):
                e, F = self.model.features(x, t, text[list(active)], self.block)
            z = ddim(x, e, grid.alpha[0], grid.alpha[1])
            seen = dict(zip(active, zip(F, z, strict=True), strict=True))
            for b, both in seen.items():
                states[b].track(*both, self.r_p, size)
            left = {b: both for b, both in seen.items() if not states[b].arrived}
            if left:
                losses = [
                    states[b].loss(*both, self.r_m, self.lam, size) for b, both in left.items()
                ]
                inputs = [states[b].latent for b in left]
                torch.autograd.backward(torch.stack(losses).sum(), inputs=inputs)
                self.model.evaluations += len(left)
            return list(left)


def on_map(drags: Sequence[Drag], image: Size, size: Size) -> tuple[Tensor, Tensor]:
    """Sources and targets [P, 2], rounded to whole pixels of the map; `image` is (H, W)."""
    scale = torch.tensor([size[1] / image[1], size[0] / image[0]], dtype=torch.float64)
    last = torch.tensor([size[1] - 1, size[0] - 1], dtype=torch.float64)

    def on_pixels(points: Sequence[Point]) -> Tensor:
        return torch.minimum((torch.tensor(points, dtype=torch.float64) * scale).round(), last)

    sources, targets = [drag.source for drag in drags], [drag.target for drag in drags]
    return on_pixels(sources), on_pixels(targets)
