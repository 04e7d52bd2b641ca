"""Which squares of the latent a drag copies, and to where.

code            paper (Alg. 1, Eq. 12)
S, T            the squares of side 2r about the source and the target point
r, m            as in the paper, in cells of the latent

The published code (github.com/ML-GSAI/SDE-Drag) departs from the paper in both; its rules are
those of `published`.

Letters in tensor names: as in sde_edit/api; h, w of a latent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sde_edit.api.example import Drag, Example, Point

if TYPE_CHECKING:
    from torch import Tensor

_SIDE = 64  # of the latent for which the paper gives r and the length of a step
Size = tuple[int, int]  # (h, w) of the latent


class Square(NamedTuple):
    """Rows and columns of a latent."""

    rows: slice
    columns: slice


class Move(NamedTuple):
    """One copy from S to T, two squares of the same size."""

    S: Square
    T: Square


@dataclass(frozen=True)
class MovePlan:
    """The squares' radius r, the number m of drag steps, and the order of the pairs of points.

    A value of None is derived from the size of the model's own latents, as `task=drag` describes.
    """

    r: int | None
    m: int | None
    m_factor: float | None
    in_sequence: bool  # one pair of points after the other, not all in each step
    published: bool = False  # the rules of the published code instead of the paper's

    def steps(self, example: Example, size: Size, native: Size) -> list[list[Move]]:
        """The moves of every drag step. native: (h, w) of the model's own latents."""
        scale = (size[1] / example.image.shape[1], size[0] / example.image.shape[0])
        drags = [Drag(_scaled(d.source, scale), _scaled(d.target, scale)) for d in example.drags]
        groups = [[drag] for drag in drags] if self.in_sequence else [drags]
        side = min(native)
        return [step for group in groups for step in self._equal_steps(group, size, side)]

    def derived(self, native: Size) -> str:
        """A message on settings derived from the model's own latents, if they differ from the
        paper's; else ""."""
        side = min(native)
        own: dict[str, float] = {"r": self.radius(side)} if self.r is None else {}
        if self.m is None and self.m_factor is None:
            own["m_factor"] = self._m_factor(side)
        if side == _SIDE or not own:
            return ""
        taken = ", ".join(f"task.{key}={value:g}" for key, value in own.items())
        sizes = f"{native[1]}x{native[0]}, the paper's {_SIDE}x{_SIDE}"
        return f"{taken}: the model's latents are {sizes}"

    def _equal_steps(self, drags: Sequence[Drag], size: Size, side: int) -> list[list[Move]]:
        """Equal steps along the segments; the points are in cells."""
        if self.published:
            drags = [Drag(_cell(d.source, size), _cell(d.target, size)) for d in drags]
        r, place = self.radius(side), _on_cells if self.published else _on_segment
        m = self.m or self._m(max(math.dist(d.source, d.target) for d in drags), side)
        paths = [[place(d, j, m, size) for j in range(m + 1)] for d in drags]
        reached = (size[0] - 1, size[1] - 1) if self.published else size
        return [[_move(path[j], path[j + 1], r, reached) for path in paths] for j in range(m)]

    def _m(self, distance: float, side: int) -> int:
        steps = distance * self._m_factor(side)
        return _nearest_step(steps) if self.published else max(1, math.ceil(steps))

    def radius(self, side: int) -> int:
        """r in cells. side: of the model's own latents."""
        return self.r or max(1, round(5 * side / _SIDE))

    def _m_factor(self, side: int) -> float:
        return self.m_factor or min(1.0, 0.5 * _SIDE / side)


def apply_moves(
    x_BCHW: Tensor,
    moves: Sequence[Sequence[Move]],
    fresh_BCHW: Tensor,
    *,
    alpha: float,
    beta: float,
) -> Tensor:
    """Eq. 12 applied to each image with its own moves; `fresh` is the paper's noise eps."""
    return pasted(noised(x_BCHW, moves, fresh_BCHW, beta=beta), alpha * x_BCHW, moves)


def noised(
    x_BCHW: Tensor, moves: Sequence[Sequence[Move]], fresh_BCHW: Tensor, *, beta: float
) -> Tensor:
    """x with S = beta x + sqrt(1 - beta^2) fresh, in every S of an image's own moves."""
    edited = x_BCHW.clone()
    for x, fresh, out, own in zip(x_BCHW, fresh_BCHW, edited, moves, strict=True):
        for S, _ in own:
            s = (..., *S)
            out[s] = beta * x[s] + (1 - beta**2) ** 0.5 * fresh[s]
    return edited


def pasted(x_BCHW: Tensor, content_BCHW: Tensor, moves: Sequence[Sequence[Move]]) -> Tensor:
    """x with T = S of `content`, for each of an image's own moves; a later T covers an earlier."""
    edited = x_BCHW.clone()
    for content, out, own in zip(content_BCHW, edited, moves, strict=True):
        for S, T in own:
            out[(..., *T)] = content[(..., *S)]
    return edited


def apply_moves_in_turn(
    x_BCHW: Tensor,
    moves: Sequence[Sequence[Move]],
    fresh_PBCHW: Sequence[Tensor],
    *,
    alpha: float,
    beta: float,
) -> Tensor:
    """Eq. 12 as the published code applies it: the p-th pair, with noise fresh[p] of its own, reads
    what the pairs before it wrote. P is at least the largest number of pairs of an image.
    """
    edited = x_BCHW.clone()
    for b, own in enumerate(moves):
        for (S, T), fresh_BCHW in zip(own, fresh_PBCHW, strict=False):
            s, t = (b, ..., *S), (b, ..., *T)
            content = edited[s].clone()
            edited[s] = beta * content + (1 - beta**2) ** 0.5 * fresh_BCHW[s]
            edited[t] = alpha * content
    return edited


def _scaled(point: Point, scale: tuple[float, float]) -> Point:
    return point[0] * scale[0], point[1] * scale[1]


def _on_segment(drag: Drag, j: int, m: int, size: Size) -> tuple[int, int]:
    """The (row, column) of the j-th of m equal steps, rounded after dividing the segment."""
    return _corner(_between(drag, j / m), size)


def _on_cells(drag: Drag, j: int, m: int, size: Size) -> tuple[int, int]:
    """The same in the published code, for a drag between cells: rounded towards the source."""
    (x, y), (to_x, to_y) = drag.source, drag.target
    return int(y + math.trunc(j * (to_y - y) / m)), int(x + math.trunc(j * (to_x - x) / m))


def _cell(point: Point, size: Size) -> Point:
    """The whole numbers (column, row) of the cell in which a point lies."""
    return min(math.floor(point[0]), size[1] - 1), min(math.floor(point[1]), size[0] - 1)


def _nearest_step(steps: float) -> int:
    """The number of equal steps, at least one, whose length is nearest to one.

    steps: the length of the whole way.
    """
    low = max(1, math.floor(steps))
    return min((low, low + 1), key=lambda m: abs(steps / m - 1)) if steps > 1 else 1


def _between(drag: Drag, share: float) -> Point:
    """The point at that share of the segment; an unchanged coordinate keeps every bit."""
    (x, y), (to_x, to_y) = drag.source, drag.target
    return x + share * (to_x - x), y + share * (to_y - y)


def _corner(point: Point, size: Size) -> tuple[int, int]:
    """(row, column) of the cell whose upper left corner is nearest.

    This corner is the centre of a square with even sides. A point beyond the last cell gets the
    last cell, so no square is empty.
    """
    column, row = (math.floor(value + 0.5) for value in point)
    return min(row, size[0] - 1), min(column, size[1] - 1)


def _move(source: tuple[int, int], target: tuple[int, int], r: int, size: Size) -> Move:
    """The parts of both squares for which both lie inside the latent."""
    S, T = [], []
    for s, t, length in zip(source, target, size, strict=True):
        low, high = min(r, s, t), min(r, length - s, length - t)
        S.append(slice(s - low, s + high))
        T.append(slice(t - low, t + high))
    return Move(Square(*S), Square(*T))
