"""Null-text inversion: fit null embeddings for which guided DDIM follows the encoded source.

code          Mokady et al. 2023 (Alg. 1)
path          z*_t, the pivots: the states that encoding visited
pivot         z*_t at the end of the step
x             z-bar_t
null          the null embedding at one time
e_cond        eps under the source prompt
e_null        eps under the null embedding
a_s, a_t      alpha_bar of the step s -> t
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sde_edit.api.model import AttentionAccess
from sde_edit.diffusion import host
from sde_edit.diffusion.denoiser import same_time
from sde_edit.diffusion.guidance import guide
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddim

if TYPE_CHECKING:
    from torch import Tensor

Step = Callable[["Tensor", Sequence[int]], "Tensor"]  # (null embeddings, their rows) -> x_t


def rows_per_step(steps: int) -> int:
    """Evaluations for one example at one time, if it takes all `steps` of Adam."""
    return 2 + 2 * steps


@dataclass(frozen=True)
class NullText:
    """The optimisation at one guidance, with at most `steps` steps of Adam at every time.

    An example stops once it is near enough, and costs nothing from then on, so the result does not
    depend on the rest of the batch. Backpropagation through the network counts as one more
    evaluation per row: with fixed weights it costs about as much as the forward pass.
    """

    model: AttentionAccess
    guidance: float
    steps: int

    def fit(
        self, path: Tensor, grid: Grid, text_BKD: Tensor, null_BKD: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The null embeddings of all steps of the grid [N, B, K, D], and the x_0 that they give.

        path: [N+1, B, C, H, W], the noisiest first; text: embeddings of the source prompt. Each
        fit starts from the embedding of the step before, the first from `null`.
        """
        with torch.inference_mode(False):  # inference tensors cannot take part in autograd
            path, text = path.clone(), text_BKD.clone()
            x, null, nulls = path[0], null_BKD.to(path.dtype, copy=True), []
            for i, (s, a_s, a_t) in enumerate(grid.intervals()):
                step = self._step(x, s, a_s, a_t, text)
                null = self._fitted(step, path[i + 1], null, i / grid.steps)
                with torch.no_grad():
                    x = step(null, range(len(x)))
                nulls.append(null)
            return torch.stack(nulls), x

    def _step(self, x: Tensor, s: float, a_s: float, a_t: float, text: Tensor) -> Step:
        """The guided step of DDIM from x, as a function of the null embedding."""
        t = same_time(x, s)
        with torch.no_grad():
            e_cond = self.model.attend(x, t, text)

        def step(null: Tensor, rows: Sequence[int]) -> Tensor:
            some = list(rows)
            e_null = self.model.attend(x[some], t[some], null)
            return ddim(x[some], guide(e_null, e_cond[some], self.guidance), a_s, a_t)

        return step

    def _fitted(self, step: Step, pivot: Tensor, null: Tensor, done: float) -> Tensor:
        """Null embeddings with which the step ends near `pivot`, after at most `steps` updates.

        done: the share of the grid already passed. As in the published code for 50 steps, at step
        i the learning rate is 1e-2 (1 - i/100), and the tolerance of the mean squared error is
        1e-5 + 2e-5 i.
        """
        nulls = [row.clone().requires_grad_() for row in null]
        adam = torch.optim.Adam(nulls, 1e-2 * (1 - done / 2))
        active = list(range(len(nulls)))
        for _ in range(self.steps):
            adam.zero_grad()  # Adam skips parameters without a gradient
            with torch.enable_grad():
                x_t = step(torch.stack([nulls[b] for b in active]), active)
                error = (x_t - pivot[active]).square().flatten(1).mean(1)
                torch.autograd.backward(error.sum())
            self.model.evaluations += len(active)
            adam.step()
            errors = zip(active, host.read(error).tolist(), strict=True)
            active = [b for b, e in errors if e >= 1e-5 + 1e-3 * done]
            if not active:
                break
        return torch.stack(nulls).detach()
