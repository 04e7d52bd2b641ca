"""DragDiffusion's optimisation of a latent (Shi et al. 2023): motion supervision, point tracking.

code            paper
F               F(z_t), an up block's features, seen as a map of size (H', W')
handles         h_i, where the dragged content is now; at first h_i^0
targets         g_i
d               d_i = (g_i - h_i) / |g_i - h_i|, one pixel of the map
wanted          F_{h_i^0}(z_t) of the latent as it was
z, z_0          z_{t-1} of the latent as it is, and as it was: DDIM's step from it
outside         1 - M
r_m, r_p        r_1, r_2, the radii of supervision and of tracking

Letters in tensor names: P pairs of points, N points, C channels; h, w of the features; else as in
sde_edit/api. Points are (x, y) in pixels of the map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from sde_edit.api.example import Drag, Point
from sde_edit.api.model import Attentive
from sde_edit.diffusion.denoiser import same_time
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddim

_NEAR = 1.0  # pixels of the map; SDE-Drag's App. F.6 stops DragDiffusion at "no more than 1 pixel"
Size = tuple[int, int]  # (H', W') of the map


# ------------------------------------------------------------------ the mathematics, of one image
def sampled(F_Chw: Tensor, points_N2: Tensor, size: Size) -> Tensor:
    """The features [C, N] at points of the map that F resized to `size` would be.

    Both bilinear; a point beyond the edge is the nearest on it. The map itself is never made: a
    point is a weighted sum of cells, which takes less memory, and whose gradient is the same every
    time, as that of an interpolation on a GPU is not.
    """
    x, y = points_N2.to(F_Chw).unbind(1)
    rows = _hat(y, size[0]) @ _resize(F_Chw, 1, size[0])
    columns = _hat(x, size[1]) @ _resize(F_Chw, 2, size[1])
    return torch.einsum("chw,nh,nw->cn", F_Chw, rows, columns)


def _resize(F_Chw: Tensor, axis: int, to: int) -> Tensor:
    """[to, cells]: the weights of cells in each pixel of the map, whose edges are those of F."""
    cells = F_Chw.shape[axis]
    middles = torch.arange(to, dtype=F_Chw.dtype, device=F_Chw.device) + 0.5
    return _hat(middles * (cells / to) - 0.5, cells)


def _hat(at_N: Tensor, n: int) -> Tensor:
    """[N, n]: the weights of 0 .. n-1 in linear interpolation at these places."""
    knots = torch.arange(n, dtype=at_N.dtype, device=at_N.device)
    return (1 - (at_N.clamp(0, n - 1)[:, None] - knots).abs()).clamp_min(0)


def supervision(
    F_Chw: Tensor, handles_P2: Tensor, targets_P2: Tensor, r_m: int, size: Size
) -> Tensor:
    """The sum over q about each handle of |F_{q+d} - sg(F_q)|, L1 as the mean over channels.

    q: the (2 r_m + 1)^2 pixels about it. A pair that has arrived is left out.
    """
    way = targets_P2 - handles_P2
    far = way.norm(dim=1) > _NEAR
    d = way[far] / way[far].norm(dim=1, keepdim=True)
    q = _about(handles_P2[far], r_m, size)
    here = sampled(F_Chw.detach(), q.flatten(0, 1), size)
    there = sampled(F_Chw, (q + d[:, None]).flatten(0, 1), size)
    return (there - here).abs().mean(0).sum()


def tracked(F_Chw: Tensor, handles_P2: Tensor, wanted_CP: Tensor, r_p: int, size: Size) -> Tensor:
    """The pixels [P, 2] within r_p of the handles, along each axis, whose features are nearest to
    those wanted, in L1; the first of equals, row by row."""
    q = _about(handles_P2, r_p, size)
    found = sampled(F_Chw, q.flatten(0, 1), size).view(-1, *q.shape[:2])
    best = (found - wanted_CP[:, :, None]).abs().sum(0).argmin(1)
    return q[torch.arange(len(q), device=q.device), best]


def _about(points_P2: Tensor, r: int, size: Size) -> Tensor:
    """[P, (2r + 1)^2, 2]: the pixels about each point, row by row; those beyond the edge, on it."""
    away = torch.arange(-r, r + 1, device=points_P2.device).to(points_P2)
    y, x = torch.meshgrid(away, away, indexing="ij")
    square = torch.stack([x, y], dim=-1).flatten(0, 1)
    last = points_P2.new_tensor([size[1] - 1, size[0] - 1])
    return torch.minimum((points_P2[:, None] + square).clamp_min(0), last)


# ------------------------------------------------------------------ one image under way
class Pull:
    """The latent of one image, and where its points are."""

    def __init__(self, z_Chw: Tensor, outside_1hw: Tensor, points: tuple[Tensor, Tensor]) -> None:
        self.latent = z_Chw.clone().requires_grad_()
        self.handles, self.targets = (part.to(z_Chw) for part in points)
        self._outside = outside_1hw
        self._first: tuple[Tensor, Tensor] | None = None

    @property
    def arrived(self) -> bool:
        """Whether every handle is within a pixel of its target."""
        return bool(((self.targets - self.handles).norm(dim=1) <= _NEAR).all())

    @torch.no_grad()
    def look(self, F_Chw: Tensor, z_Chw: Tensor, r_p: int, size: Size) -> None:
        """The first look is what is wanted; every later one tells where the handles have gone."""
        if self._first is None:
            self._first = sampled(F_Chw, self.handles, size), z_Chw.clone()
        else:
            self.handles = tracked(F_Chw, self.handles, self._first[0], r_p, size)

    def loss(self, F_Chw: Tensor, z_Chw: Tensor, r_m: int, lam: float, size: Size) -> Tensor:
        """Motion supervision, and lam |(z - z_0) (1 - M)|, summed."""
        assert self._first
        moving = supervision(F_Chw, self.handles, self.targets, r_m, size)
        if not self._outside.any():
            return moving
        return moving + lam * ((z_Chw - self._first[1]) * self._outside).abs().sum()


# ------------------------------------------------------------------ the optimisation, of a batch
@dataclass(frozen=True)
class Motion:
    """At most `steps` steps of Adam on the latents, with features of up block `block`; the network
    has the LoRAs of some rows within lora(rows).

    An image whose points have arrived stops, and costs nothing from then on: a batch is no more
    than its examples. A row's way back through the network counts as one evaluation more: with
    the weights fixed it costs about as much as the way there.
    """

    model: Attentive
    block: int
    r_m: int
    r_p: int
    lam: float
    lr: float
    steps: int
    lora: Callable[[Sequence[int]], AbstractContextManager[None]]

    def moved(
        self,
        x_BCHW: Tensor,
        text_BKD: Tensor,
        grid: Grid,
        outside_B1HW: Tensor,
        points: Sequence[tuple[Tensor, Tensor]],
        size: Size,
    ) -> Tensor:
        """The latents at grid.t[0], optimised. points: handles and targets of each image."""
        with torch.inference_mode(False):  # whose tensors cannot be part of a gradient
            x, text, outside = x_BCHW.clone(), text_BKD.clone(), outside_B1HW.clone()
            pulls = [Pull(*row) for row in zip(x, outside, points, strict=True)]
            adam = torch.optim.Adam([pull.latent for pull in pulls], self.lr)
            far = [b for b, pull in enumerate(pulls) if not pull.arrived]
            for _ in range(self.steps):
                if not far:
                    break
                adam.zero_grad()  # Adam passes over what has no gradient
                far = self._pulled(pulls, far, text, grid, size)
                adam.step()
            return torch.stack([pull.latent for pull in pulls]).detach()

    @torch.enable_grad()
    def _pulled(
        self, pulls: Sequence[Pull], far: Sequence[int], text: Tensor, grid: Grid, size: Size
    ) -> list[int]:
        """Gradients for the rows that are still far, which it gives."""
        x = torch.stack([pulls[b].latent for b in far])
        t = same_time(x, grid.t[0])
        with self.lora(far):
            e, F = self.model.features(x, t, text[list(far)], self.block)
        z = ddim(x, e, grid.alpha[0], grid.alpha[1])
        seen = dict(zip(far, zip(F, z, strict=True), strict=True))
        for b, both in seen.items():
            pulls[b].look(*both, self.r_p, size)
        left = {b: both for b, both in seen.items() if not pulls[b].arrived}
        if left:
            losses = [pulls[b].loss(*both, self.r_m, self.lam, size) for b, both in left.items()]
            inputs = [pulls[b].latent for b in left]
            torch.autograd.backward(torch.stack(losses).sum(), inputs=inputs)
            self.model.evaluations += len(left)
        return list(left)


def on_map(drags: Sequence[Drag], image: Size, size: Size) -> tuple[Tensor, Tensor]:
    """Sources and targets [P, 2] in pixels of the map, rounded to whole ones; `image` is (H, W)."""
    scale = torch.tensor([size[1] / image[1], size[0] / image[0]], dtype=torch.float64)
    last = torch.tensor([size[1] - 1, size[0] - 1], dtype=torch.float64)

    def whole(points: Sequence[Point]) -> Tensor:
        return torch.minimum((torch.tensor(points, dtype=torch.float64) * scale).round(), last)

    return whole([drag.source for drag in drags]), whole([drag.target for drag in drags])
