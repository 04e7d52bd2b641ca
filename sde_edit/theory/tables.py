"""The numbers of docs/theory.md as Markdown tables. A table's docstring is its caption."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from inspect import getdoc
from itertools import pairwise

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor

from sde_edit.api.sampler import Sampler
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.samplers.ode import ODE
from sde_edit.samplers.sde import SDE
from sde_edit.theory import cycle, sobolev
from sde_edit.theory.density import NODES, of_marginal, of_prior, trajectory
from sde_edit.theory.divergence import bound, descent, kl, order, sharp_bound
from sde_edit.theory.mixture import (
    PRIORS,
    RIGHT,
    SCHEDULES,
    SHIFTED,
    Mixture,
    Normal,
    cosine,
    cosine_grid,
    even_grid,
    time_at,
)
from sde_edit.theory.plots import (
    ARMS,
    DATA,
    DOWN_TO,
    SCHEDULE_STEPS,
    between,
    cycle_curve,
    kl_curve,
    left,
)

_ODE_ARM, _SDE_ARM = ARMS
STEPS = (25, 50, 100, 200, 400)


def markdown() -> str:
    """All tables, each below its heading and caption."""
    tables: dict[str, Callable[[], str]] = {
        "Theorem 3.1, steps": identity_in_t,
        "Theorem 3.1, nodes": identity_in_x,
        "Theorem 3.2, steps": invariance_in_t,
        "Theorem 3.2, nodes": invariance_in_x,
        "The samplers' own error": discretisation,
        "Log-Sobolev constant": constants,
        "Proposition D.1, rates": rates,
        "Proposition D.1, reached": reached,
        "Theorem 3.3, fresh draw": cycle_against_sde,
        "Theorem 3.3, sign flip": cycle_sign_flip,
        "Noise schedules, rate": schedules,
        "Noise schedules, Theorem 3.1": identity_by_schedule,
    }
    return "\n".join(
        f"### {name}\n\n{getdoc(table)}\n\n{table()}\n" for name, table in tables.items()
    )


def _pipes(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    escaped = [heading.replace("|", "\\|") for heading in headings]
    cells = [[f"{c:.3g}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    text: str = tabulate(cells, escaped, tablefmt="pipe", disable_numparse=True)
    return text


def _orders(errors: Sequence[float], refinements: Sequence[float]) -> list[str]:
    """The order between each row and the one above; empty for the first row."""
    last = range(2, len(errors) + 1)
    return ["", *(f"{order(errors[:i], refinements[:i]):.2f}" for i in last)]


# ------------------------------------------------------------------ Theorem 3.1
def identity_in_t() -> str:
    """Both sides of Eq. 9 for N(2, 2²) from 0.5 T to 0.02 T, 800 nodes."""
    found = [
        descent(of_prior(SHIFTED), SDE(), DATA, cosine_grid(0.5, 0.02, steps)) for steps in STEPS
    ]
    errors = [abs(d.drop - d.integral) for d in found]
    rows = [
        (steps, f"{d.drop:.4f}", f"{d.integral:.4f}", error, k)
        for steps, d, error, k in zip(STEPS, found, errors, _orders(errors, STEPS), strict=True)
    ]
    return _pipes(["steps", "drop of D_KL", "∫ g² D_Fisher", "difference", "order"], rows)


def identity_in_x() -> str:
    """The same at 50 steps: error of each side against 3200 nodes; 0 is 0 to the last bit."""
    nodes, grid = (200, 400, 800, 3200), cosine_grid(0.5, 0.02, 50)
    found = [descent(of_prior(SHIFTED, n), SDE(), DATA, grid, n) for n in nodes]
    drops = [abs(d.drop - found[-1].drop) for d in found[:-1]]
    integrals = [abs(d.integral - found[-1].integral) for d in found[:-1]]
    rows = zip(nodes, drops, integrals, _orders(integrals, nodes[:-1]), strict=False)
    return _pipes(["nodes", "error of drop", "error of ∫ g² D_Fisher", "order of the latter"], rows)


# ------------------------------------------------------------------ Theorem 3.2
def invariance_in_t() -> str:
    """D_KL to q in closed form: the ODE from N(2, 2²) at 0.5 T down to 0, 20 000 nodes."""
    p, grids = of_prior(SHIFTED, _ODE_ARM.nodes), [cosine_grid(0.5, 0, steps) for steps in STEPS]
    start = kl(p, DATA, cosine(0.5))
    ends = [kl(trajectory(p, ODE(), DATA, grid)[-1], DATA, 1.0) for grid in grids]
    errors = [abs(end - start) for end in ends]
    rows = [
        (steps, f"{start:.4f}", f"{end:.4f}", error, k)
        for steps, end, error, k in zip(STEPS, ends, errors, _orders(errors, STEPS), strict=True)
    ]
    return _pipes(["steps", "D_KL at t_0", "D_KL at 0", "difference", "order"], rows)


def invariance_in_x() -> str:
    """The same with the sampler's own p_t instead of q_t, at 10 steps: only quadrature is left."""
    nodes, grid = (1250, 2500, 5000, 10_000, 20_000), cosine_grid(0.5, 0.0, 10)
    errors = []
    for n in nodes:
        curve = kl_curve(replace(_ODE_ARM, nodes=n), SHIFTED, DATA, grid)
        errors.append(abs(curve[-1] - curve[0]))
    rows = zip(nodes, errors, _orders(errors, nodes), strict=True)
    return _pipes(["nodes", "|D_KL at 0 − D_KL at t_0|", "order"], rows)


# ------------------------------------------------------------------ the samplers' own error
def own_errors(sampler: Sampler, nodes: int, steps: Sequence[int]) -> list[float]:
    """The column of `discretisation` for a sampler: order 2 in D_KL is order 1 in the density."""
    grids = [cosine_grid(0.5, 0.02, n) for n in steps]
    starts = [of_marginal(DATA, grid.alpha[0], nodes) for grid in grids]
    return [
        kl(trajectory(p, sampler, DATA, grid, nodes)[-1], DATA, grid.alpha[-1])
        for p, grid in zip(starts, grids, strict=True)
    ]


def discretisation() -> str:
    """D_KL(p_s ‖ q_s) at s = 0.02 T of the samplers started right, at q_t with t = 0.5 T."""
    ode, sde = (own_errors(arm.sampler, arm.nodes, STEPS) for arm in ARMS)
    rows = zip(STEPS, ode, _orders(ode, STEPS), sde, _orders(sde, STEPS), strict=True)
    return _pipes(["steps", "ODE", "order", "SDE", "order"], rows)


# ------------------------------------------------------------------ Proposition D.1
def constants() -> str:
    """What is known of c_LSI(q_0): bounds from below, from above, and the formula of App. E."""
    known: dict[str, Callable[[Mixture], float]] = {
        "lower: Poincaré constant": sobolev.poincare,
        "lower: best ratio found by ascent, 100 nodes": sobolev.attained,
        "Poincaré constant on the same 100 nodes": partial(sobolev.poincare, nodes=100),
        "upper: Bakry–Émery with Holley–Stroock": sobolev.ceiling,
        "App. E as printed": sobolev.stated,
        "App. E with σ² for σ": sobolev.stated_for_variance,
    }
    worlds = {
        "σ = 0.2 (App. E)": DATA,
        "σ = 0.1": Mixture(sigma=0.1),
        "μ = 0, σ = 2": Mixture(0, 2),
    }
    rows = [(name, *(f(data) for data in worlds.values())) for name, f in known.items()]
    return _pipes(["quantity", *worlds], rows)


def rates() -> str:
    """D_KL at 0 over D_KL at t_0, SDE of 100 steps, beside bounds for three constants."""
    rows = []
    for start in (0.9, 0.7, 0.5, 0.3):
        grid = cosine_grid(start, 0.0, 100)
        curves = [kl_curve(_SDE_ARM, prior, DATA, grid) for prior in PRIORS]
        a = grid.alpha[0]
        bounds = (bound(c, 1.0, a) for c in (sobolev.stated(DATA), sobolev.ceiling(DATA), 1.0))
        rows.append((f"{start:g} T", *(c[-1] / c[0] for c in curves), *bounds))
    headings = ["t_0", *map(str, PRIORS), "Eq. 23, c = 7.67", "c = 4.97", "c = 1"]
    return _pipes(headings, rows)


def reached() -> str:
    """Gaussian data, a shifted start, 0.5 T to 0.02 T: what is left of D_KL, against the bounds."""
    counts, rows = STEPS[:-1], []
    for sd in (1.0, 0.5):
        lines = [_shifted_gaussian(Mixture(0, sd), steps) for steps in counts]
        errors = [abs(ratio - sharp) for ratio, sharp, _ in lines]
        cells = zip(counts, lines, errors, _orders(errors, counts), strict=True)
        rows += [(f"N(0, {sd:g}²)", n, *map(_four, line), e, k) for n, line, e, k in cells]
    headings = ["data", "steps", "ratio of D_KL", "sharper bound", "Eq. 23", "ratio − sharper"]
    return _pipes([*headings, "order"], rows)


def _four(value: float) -> str:
    return f"{value:.4f}"


def _shifted_gaussian(data: Mixture, steps: int) -> tuple[float, float, float]:
    """D_KL at s over D_KL at t, and the two bounds, with c_LSI(q_s) = Var(q_s)."""
    grid = cosine_grid(0.5, 0.02, steps)
    a_t, *_, a_s = grid.alpha
    start = of_prior(Normal(1.5, data.moments(a_t)[1] ** 0.5))
    end = trajectory(start, SDE(), data, grid, 2 * NODES)[-1]
    c = data.moments(a_s)[1]
    ratio = kl(end, data, a_s) / kl(start, data, a_t)
    return ratio, sharp_bound(c, a_s, a_t), bound(c, a_s, a_t)


# ------------------------------------------------------------------ Theorem 3.3
def cycle_against_sde() -> str:
    """D_KL of Cycle-SDE and SDE from a fresh draw of N(0, 1) at 0.5 T down to 0.02 T."""
    rows = []
    for steps in (12, 25, 50, 100):
        grid = cosine_grid(0.5, 0.02, steps)
        sde = kl_curve(_SDE_ARM, RIGHT, DATA, grid)
        curve = cycle_curve(RIGHT, DATA, grid)
        rise = max(0.0, *(b - a for a, b in pairwise(curve)))
        gap = max(abs(a - b) for a, b in zip(curve, sde, strict=True))
        rows.append((steps, curve[0], min(curve), curve[-1], rise, sde[-1], gap))
    headings = ["steps", "Cycle-SDE at t_0", "least", "at 0.02 T", "largest rise in a step"]
    return _pipes([*headings, "SDE at 0.02 T", "largest gap to SDE"], rows)


def cycle_sign_flip() -> str:
    """Largest distance of the distribution functions of p̃ and q; 20 000 draws, 100 steps."""
    rows = []
    for start in (0.3, 0.5, 0.7):
        grid = cosine_grid(start, 0.01, 100)
        before, after = flipped(grid, 20_000, seed=0)
        ends = grid.alpha[0], grid.alpha[-1]
        rows.append((f"{start:g} T", ks(before, ends[0]), ks(after, ends[1])))
    return _pipes(["t_0", "KS distance at t_0", "KS distance at 0.01 T"], rows)


def flipped(grid: Grid, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """n draws of x~ under the sign flip, before and after Cycle-SDE."""
    noise, row_BCHW = Noise(seed, ("toy",)), torch.zeros(1, 1, 1, n, dtype=torch.float64)
    mode = noise.like(row_BCHW, "mode").sign() * DATA.mu
    x_0 = mode + DATA.sigma * noise.like(row_BCHW, "data")
    source = cycle.source_path(x_0, grid, noise)
    start = cycle.sign_flip(source[0], x_0, grid.alpha[0])
    return start.view(-1), cycle.edited_path(start, source, SDE(), DATA, grid)


def ks(x: Tensor, alpha: float) -> float:
    """The Kolmogorov-Smirnov distance of a sample from q_t."""
    q = of_marginal(DATA, alpha, 4 * NODES)
    ordered = x.sort().values.numpy()
    cdf = np.interp(ordered, q.x_N.numpy(), q.cdf().numpy())
    steps = np.arange(len(ordered) + 1) / len(ordered)
    return float(max(np.abs(cdf - steps[1:]).max(), np.abs(cdf - steps[:-1]).max()))


# ------------------------------------------------------------------ other noise schedules
def schedules() -> str:
    """What is left of the D_KL of N(2, 2²) at α = 0.998: from 0.5 T, and from α = 0.494."""
    rows = []
    for name, schedule in SCHEDULES.items():
        half = even_grid(schedule, 0.5, time_at(schedule, DOWN_TO), SCHEDULE_STEPS[-1])
        ode, sde = (left(arm, half)[-1] for arm in ARMS)
        by_steps = (left(_SDE_ARM, between(schedule, n))[-1] for n in SCHEDULE_STEPS)
        equal = left(_ODE_ARM, between(schedule, SCHEDULE_STEPS[-1]))[-1]
        rows.append((name, schedule(0.5), f"{ode:.4f}", sde, f"{equal:.4f}", *by_steps))
    most = SCHEDULE_STEPS[-1]
    from_half = ["α at 0.5 T", f"ODE from there, {most} steps", f"SDE, {most}"]
    counts = [f"SDE, {n}" for n in SCHEDULE_STEPS]
    return _pipes(["schedule", *from_half, f"ODE from α = 0.494, {most}", *counts], rows)


def identity_by_schedule() -> str:
    """Both sides of Eq. 9 for N(2, 2²) between the same two noise levels, 50 steps, 800 nodes."""
    found = {
        name: descent(of_prior(SHIFTED), SDE(), DATA, between(schedule, 50))
        for name, schedule in SCHEDULES.items()
    }
    rows = [
        (name, f"{d.drop:.4f}", f"{d.integral:.4f}", abs(d.drop - d.integral))
        for name, d in found.items()
    ]
    return _pipes(["schedule", "drop of D_KL", "∫ g² D_Fisher", "difference"], rows)
