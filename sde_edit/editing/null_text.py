"""Null-text inversion: embeddings of the null condition that bring DDIM back to where it came from.

code          Mokady et al. 2023 (Alg. 1)
path          z*_t, the pivots: the source's states on the way up; aim: the next of them
x             z-bar_t
null          the null embedding of a time
e_cond        eps of the source prompt; e_null: of the null embedding
a_s, a_t      alpha_bar of the step s -> t
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sde_edit.api.model import Attentive
from sde_edit.diffusion.guidance import guide
from sde_edit.diffusion.schedule import Grid
from sde_edit.diffusion.steps import ddim

Step = Callable[[Tensor, Sequence[int]], Tensor]  # from null embeddings and their rows to x_t


def rows_per_step(steps: int) -> int:
    """Evaluations that one time of one example costs if it takes all `steps` of Adam."""
    return 2 + 2 * steps


@dataclass(frozen=True)
class NullText:
    """The optimisation at one guidance, with at most `steps` steps of Adam at every time.

    An example stops by itself once it is near enough, and costs nothing from then on: a batch is
    no more than its examples. A row's way back through the network counts as one evaluation more:
    with the weights fixed it costs about as much as the way there.
    """

    model: Attentive
    guidance: float
    steps: int

    def fit(
        self, path: Tensor, grid: Grid, text_BKD: Tensor, null_BKD: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The null embedding of every step of the grid [N, B, K, D], and x_0 where they lead.

        path: [N+1, B, C, H, W], the noisiest first; text: of the source prompt. The embedding of a
        time starts from that of the time before, the first from `null`.
        """
        with torch.inference_mode(False):  # whose tensors cannot be part of a gradient
            path, text = path.clone(), text_BKD.clone()
            x, null, nulls = path[0], null_BKD.to(path.dtype, copy=True), []
            for i, (s, a_s, a_t) in enumerate(grid.pairs()):
                step = self._step(x, s, a_s, a_t, text)
                null = self._fitted(step, path[i + 1], null, i / grid.steps)
                with torch.no_grad():
                    x = step(null, range(len(x)))
                nulls.append(null)
            return torch.stack(nulls), x

    def _step(self, x: Tensor, s: float, a_s: float, a_t: float, text: Tensor) -> Step:
        """The guided step of DDIM from x, of which only the null embedding is open."""
        t = x.new_full((len(x),), s)
        with torch.no_grad():
            e_cond = self.model.attend(x, t, text)

        def step(null: Tensor, rows: Sequence[int]) -> Tensor:
            some = list(rows)
            e_null = self.model.attend(x[some], t[some], null)
            return ddim(x[some], guide(e_null, e_cond[some], self.guidance), a_s, a_t)

        return step

    def _fitted(self, step: Step, aim: Tensor, null: Tensor, done: float) -> Tensor:
        """The embeddings that land on `aim`, or as near as that many steps bring them.

        done: the share of the grid that is passed. Rate and tolerance depend on it as in the
        published code, which has 50 steps: 1e-2 (1 - i/100), and 1e-5 + 2e-5 i in the mean square.
        """
        nulls = [row.clone().requires_grad_() for row in null]
        adam = torch.optim.Adam(nulls, 1e-2 * (1 - done / 2))
        far = list(range(len(nulls)))
        for _ in range(self.steps):
            adam.zero_grad()  # Adam passes over what has no gradient
            with torch.enable_grad():
                error = (step(torch.stack([nulls[b] for b in far]), far) - aim[far]).square()
                error = error.flatten(1).mean(1)
                torch.autograd.backward(error.sum())
            self.model.evaluations += len(far)
            adam.step()
            far = [b for b, e in zip(far, error.tolist(), strict=True) if e >= 1e-5 + 1e-3 * done]
            if not far:
                break
        return torch.stack(nulls).detach()
