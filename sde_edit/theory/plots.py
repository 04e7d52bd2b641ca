"""The figures of the toy: Fig. 5 of the paper, and D_KL(p~_t || p_t) over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sde_edit.api.sampler import Sampler
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.report.formats import write_figure
from sde_edit.report.plot_style import GREY, PAGE, RC, Style, legend, style_axes, styles_of
from sde_edit.samplers.ode import ODE
from sde_edit.samplers.sde import SDE
from sde_edit.theory import cycle, sobolev
from sde_edit.theory.density import NODES, of_prior, own_trajectory, trajectory
from sde_edit.theory.divergence import bound, kl, kl_between
from sde_edit.theory.mixture import (
    PRIORS,
    SCHEDULES,
    SHIFTED,
    Mixture,
    Normal,
    Prior,
    Schedule,
    cosine,
    cosine_grid,
    even_grid,
    time_at,
)


@dataclass(frozen=True)
class Arm:
    """A sampler, and its number of nodes, which cost little for the ODE."""

    name: str
    sampler: Sampler
    nodes: int

    @property
    def style(self) -> Style:
        """How it is drawn, here as in the figures of tables."""
        return styles_of([self.name])[self.name]


ARMS = (Arm("ODE (DDIM)", ODE(), 25 * NODES), Arm("SDE (DDPM)", SDE(), NODES))

DATA = Mixture()
HISTOGRAM_STEPS, SAMPLES, SEED = 500, 50_000, 0
KL_STEPS, FEW_STEPS = 100, 12
STARTS = (1.0, 0.5)
SCHEDULE_STEPS = (3, 5, 10, 25, 50)
FROM, DOWN_TO = cosine(0.5), cosine(0.02)  # alpha between which schedules are compared
_KL_FLOOR = 1e-8  # values below this are errors of the quadrature


# ------------------------------------------------------------------ Fig. 5
def samples(prior: Prior, sampler: Sampler, data: Mixture, grid: Grid, n: int, seed: int) -> Tensor:
    """n draws of p~_0, float64 [n], by the sampler itself with the noise that runs use."""
    noise = Noise(seed, ("toy",))
    row_BCHW = torch.zeros(1, 1, 1, n, dtype=torch.float64)
    start = prior.sample(noise.like(row_BCHW, "prior"))
    return sampler.decode(data.eps(grid), start, grid, noise).view(-1)


@rc_context(RC)
def figure5(folder: Path) -> list[Path]:
    """`<folder>/figure5.{png,svg,pdf}`: histograms of p~_0 for three priors, and the data."""
    grid = cosine_grid(1.0, 0.0, HISTOGRAM_STEPS)
    figure = Figure(figsize=(PAGE, 1.9), layout="constrained")
    panels = figure.subplots(1, len(PRIORS), sharey=True)
    for letter, prior, axes in zip("abc", PRIORS, panels, strict=True):
        _histograms(axes, prior, grid)
        axes.set_title(f"({letter}) prior {prior}")
        axes.set_xlabel("$x_0$")
    panels[0].set_ylabel("density")
    legend(figure, panels[0].get_legend_handles_labels()[0], title=_sampling_caption())
    return write_figure(figure, "figure5", folder)


def _sampling_caption() -> str:
    return f"{SAMPLES:,} samples per histogram, {HISTOGRAM_STEPS} steps from t = T to t = 0"


def _histograms(axes: Axes, prior: Prior, grid: Grid) -> None:
    bins = torch.linspace(-1.6, 1.9, 106).tolist()
    for arm in ARMS:
        x_0 = samples(prior, arm.sampler, DATA, grid, SAMPLES, SEED).numpy()
        axes.hist(
            x_0, bins, density=True, color=arm.style.colour, alpha=0.3, label=f"{arm.name}, drawn"
        )
        p = trajectory(of_prior(prior, arm.nodes), arm.sampler, DATA, grid)[-1]
        axes.plot(p.x_N, p.log_p_N.exp(), color=arm.style.colour, ls=arm.style.dash,
                  label=f"{arm.name}, computed")  # fmt: skip
    x = torch.linspace(bins[0], bins[-1], 400, dtype=torch.float64)
    axes.plot(x, DATA.log_q(x, 1.0).exp(), color="black", ls=":", lw=1.4, label="data $q_0$")
    axes.set_xlim(bins[0], bins[-1])
    axes.spines[["top", "right"]].set_visible(False)


# ------------------------------------------------------------------ D_KL over time
@rc_context(RC)
def theory_kl(folder: Path) -> list[Path]:
    """`<folder>/theory_kl.{png,svg,pdf}`: D_KL(p~_t || p_t) for two starts and all priors.

    Cycle-SDE is omitted where its evenly spaced grid fails: for the uniform prior, which has jumps,
    and from T, where the first step makes x~ - x far narrower than x.
    """
    figure = Figure(figsize=(PAGE, 4.2), layout="constrained")
    panels = figure.subplots(len(STARTS), len(PRIORS), sharex="row", sharey="row")
    for start, row in zip(STARTS, panels, strict=True):
        for prior, axes in zip(PRIORS, row, strict=True):
            _curves(axes, prior, cosine_grid(start, 0.0, KL_STEPS))
            where = "T" if start == 1 else f"{start:g} T"
            axes.set_title(f"{prior} at $t_0 = {where}$")
            axes.set_xlabel("t / T (sampling runs to the right)")
        row[0].set_ylabel(r"$D_{KL}(\tilde{p}_t\,\|\,p_t)$ [nats]")
    legend(figure, panels[-1][0].get_legend_handles_labels()[0], title="")
    return write_figure(figure, "theory_kl", folder)


def kl_curve(arm: Arm, prior: Prior, data: Mixture, grid: Grid) -> list[float]:
    """D_KL(p~_t || p_t) at every time. p_t is the sampler's own, so its step error cancels."""
    path = trajectory(of_prior(prior, arm.nodes), arm.sampler, data, grid)
    own = own_trajectory(prior, arm.sampler, data, grid, 2 * arm.nodes)
    return [kl_between(p, q) for p, q in zip(path, own, strict=True)]


def cycle_curve(prior: Normal, data: Mixture, grid: Grid) -> list[float]:
    """As kl_curve for Cycle-SDE, whose own p_t is q_t at any number of steps: it reconstructs."""
    path = cycle.trajectory(prior, SDE(), data, grid)
    return [kl(p, data, alpha) for p, alpha in zip(path, grid.alpha, strict=True)]


def _curves(axes: Axes, prior: Prior, grid: Grid) -> None:
    curves = [kl_curve(arm, prior, DATA, grid) for arm in ARMS]
    for arm, curve in zip(ARMS, curves, strict=True):
        axes.plot(grid.t, curve, color=arm.style.colour, ls=arm.style.dash, label=arm.name)
    if grid.t[0] < 1 and isinstance(prior, Normal):
        few = cosine_grid(grid.t[0], grid.t[-1], FEW_STEPS)
        styles = styles_of(["Cycle-SDE (DDPM)", f"Cycle-SDE, {FEW_STEPS} steps"])
        for (name, style), own in zip(styles.items(), (grid, few), strict=True):
            marker, width = (".", 0.6) if own is few else ("", 1.2)  # thin: it covers the others
            axes.plot(own.t, cycle_curve(prior, DATA, own), color=style.colour, ls=style.dash,
                      lw=width, marker=marker, label=name)  # fmt: skip
    if curves[0][0] > _KL_FLOOR:
        _bounds(axes, curves[0][0], grid)
    else:
        axes.text(0.5, 0.5, "all below $10^{-8}$:\nthis prior is the right one",
                  transform=axes.transAxes, ha="center", color=GREY)  # fmt: skip
    _dress(axes, grid)


def _bounds(axes: Axes, at_start: float, grid: Grid) -> None:
    for c, dash in ((1.0, "-."), (sobolev.stated(DATA), (0, (1, 3)))):
        line = [at_start * bound(c, alpha, grid.alpha[0]) for alpha in grid.alpha]
        axes.plot(grid.t, line, color=GREY, ls=dash, lw=1.4, zorder=3,
                  label=f"Eq. 23, c = {c:.3g}")  # fmt: skip


def _dress(axes: Axes, grid: Grid) -> None:
    axes.set_yscale("log")
    axes.set_xlim(grid.t[0] * 1.04, -0.02 * grid.t[0])
    axes.set_ylim(*((_KL_FLOOR, 30) if grid.t[0] == 1 else (5e-4, 10)))
    style_axes(axes, "y")


# ------------------------------------------------------------------ other noise schedules
@rc_context(RC)
def theory_schedules(folder: Path) -> list[Path]:
    """`<folder>/theory_schedules.{png,svg,pdf}`: what is left of D_KL, by noise schedule.

    Over time from 0.5 T, over alpha from where the cosine schedule has 0.5 T, and at the end of the
    latter over the number of steps.
    """
    figure = Figure(figsize=(PAGE, 2.5), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    styles = styles_of(f"{arm.name}, {name}" for arm in ARMS for name in SCHEDULES)
    for label, style in styles.items():
        arm = next(arm for arm in ARMS if label.startswith(arm.name))
        _by_schedule(panels, arm, SCHEDULES[label.rpartition(", ")[2]], style, label)
    texts = [
        ("from $t_0 = 0.5\\,T$", "t / T (sampling runs to the right)"),
        (f"from $\\alpha = {FROM:.2g}$", r"$\alpha_t$"),
        (f"the same, at $\\alpha = {DOWN_TO:.3f}$", "steps"),
    ]
    for axes, (title, x) in zip(panels, texts, strict=True):
        axes.set_title(title)
        axes.set_xlabel(x)
        axes.set_yscale("log")
        style_axes(axes, "y")
    panels[0].invert_xaxis()
    panels[2].set_xscale("log")
    panels[2].set_xticks(SCHEDULE_STEPS, [str(n) for n in SCHEDULE_STEPS])
    panels[2].set_xticks([], minor=True)
    panels[0].set_ylabel("share of $D_{KL}$ that is left")
    legend(figure, panels[0].get_legend_handles_labels()[0], title="")
    return write_figure(figure, "theory_schedules", folder)


def _by_schedule(
    panels: Sequence[Axes], arm: Arm, schedule: Schedule, style: Style, label: str
) -> None:
    over_time, over_alpha, over_steps = panels
    most = SCHEDULE_STEPS[-1]
    looks: dict[str, Any] = {"color": style.colour, "ls": style.dash, "label": label}
    half = even_grid(schedule, 0.5, time_at(schedule, DOWN_TO), most)
    over_time.plot(half.t, left(arm, half), **looks)
    grids = [between(schedule, n) for n in SCHEDULE_STEPS]
    lefts = [left(arm, grid) for grid in grids]
    over_alpha.plot(grids[-1].alpha, lefts[-1], **looks)
    over_steps.plot(SCHEDULE_STEPS, [line[-1] for line in lefts], marker=style.marker, **looks)


def between(schedule: Schedule, steps: int) -> Grid:
    """A grid even in a schedule's time whose ends are the same noise levels for all schedules."""
    return even_grid(schedule, time_at(schedule, FROM), time_at(schedule, DOWN_TO), steps)


def left(arm: Arm, grid: Grid) -> list[float]:
    """D_KL(p~_t || p_t) over D_KL at the first time, from N(2, 2^2)."""
    curve = kl_curve(arm, SHIFTED, DATA, grid)
    return [value / curve[0] for value in curve]


DRAWERS: dict[str, Callable[[Path], list[Path]]] = {
    "figure5": figure5,
    "theory_kl": theory_kl,
    "theory_schedules": theory_schedules,
}
