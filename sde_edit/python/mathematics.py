"""The samplers alone, over any eps: no Hydra, no files, no model of ours.

code        paper
alpha_bar   alpha_t, at every train time
eps         eps_theta(x, t)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sde_edit.api.sampler import Sampler
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid, Schedule
from sde_edit.errors import UserError
from sde_edit.registry import build


def sampler(kind: str, **settings: Any) -> Sampler:
    """A sampler by the name of its file, such as "sde", with these of its settings.

    Its methods take any `eps(x_BCHW, t_B)`, which returns the noise in x at times t, on the CPU:
    `decode(eps, x_BCHW, grid, noise)` goes from x at the grid's first time to x at its last, and
    `encode(eps, x_BCHW, grid, noise)` of those that invert goes back. x is a float32 or float64
    tensor [B, C, H, W]. Raises UserError for an unknown kind or setting.
    """
    made = build("samplers", kind, settings)
    if not isinstance(made, Sampler):
        raise UserError(f"sampler {kind!r} reads images that are made elsewhere; it has no steps")
    return made


def grid(
    alpha_bar: ArrayLike,
    steps: int,
    *,
    spacing: str = "linspace",
    last_sigma: str = "sigma_min",
) -> Grid:
    """The times that a sampler visits in `steps` steps, and alpha_bar at each.

    alpha_bar [T]: its value at the train times 0 .. T-1, decreasing, in (0, 1]. spacing: linspace,
    leading, trailing, logsnr, quadratic or karras. last_sigma: sigma_min to end at time 0, zero to
    end at alpha_bar = 1, one_step_in to leave out the last step.
    Raises UserError for another schedule, or steps that do not fit it.
    """
    values = np.asarray(alpha_bar, dtype=np.float64)
    falls = values.ndim == 1 and len(values) > 1 and bool((np.diff(values) < 0).all())
    if not (falls and values[-1] > 0 and values[0] <= 1):
        raise UserError(
            f"alpha_bar of shape {values.shape}: it must be a list of numbers in (0, 1] that "
            "decrease from the data to the noise"
        )
    return Schedule(tuple(values.tolist())).grid(steps, spacing, last_sigma)


def noise(seed: int = 0, rows: int = 1) -> Noise:
    """The noise of a batch of that many rows; each row has a stream of its own.

    `noise.like(x_BCHW, "init")` draws a standard normal start. A sampler draws what it needs from
    it, and the same noise gives the same result again. Raises UserError for less than one row.
    """
    if rows < 1:
        raise UserError(f"rows={rows}: must be at least 1")
    return Noise(seed, tuple(map(str, range(rows))))
