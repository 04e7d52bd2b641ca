"""What a sampler owes: the same image in any batch, its declared order, cost and inversion.

code        meaning
eps         a smooth made-up network; of_gaussian: that of data N(M, V), exactly
half_log    lambda, half the logarithm of alpha / (1 - alpha), in which order_grid is even
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sde_edit.api.sampler import Sampler
from sde_edit.contracts.check import BrokenContract, generators_alone, require
from sde_edit.diffusion.denoiser import Denoiser, Project, no_edit
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid, LastSigma, Schedule
from sde_edit.errors import UserError

IDS = ("a", "b", "c", "d")
_MEAN, _VARIANCE = 1.5, 0.25
_EXACT = 1e-10  # relative error of an inversion that is exact up to rounding
_ROUNDING = 1e-9


def grid(last_sigma: LastSigma = "sigma_min") -> Grid:
    """Stable Diffusion's times in 16 steps."""
    schedule = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000)
    return schedule.grid(16, last_sigma=last_sigma)


def eps(x_BCHW: Tensor, t_B: Tensor) -> Tensor:
    return torch.sin(x_BCHW + t_B.view(-1, 1, 1, 1) / 500)


def start(ids: tuple[str, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Noise]:
    """A standard normal state of these examples, and their noise."""
    noise = Noise(0, ids)
    return noise.like(torch.empty(len(ids), 4, 8, 8, dtype=dtype), "init"), noise


def decoded(
    sampler: Sampler,
    ids: tuple[str, ...] = IDS,
    *,
    project: Project = no_edit,
    network: Denoiser = eps,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    x, noise = start(ids, dtype)
    return sampler.decode(network, x, grid(), noise, project)


# ------------------------------------------------------------------ every sampler
def check_declarations(sampler: Sampler) -> None:
    """it declares a version, an order and a cost"""
    require(sampler.version >= 1, f"version is {sampler.version}: it must be at least 1")
    require(sampler.order >= 0, f"order is {sampler.order}: it must be at least 0")
    cost = sampler.evaluations_per_step
    require(cost >= 0, f"evaluations_per_step is {cost}: it must be at least 0")


def check_batch(sampler: Sampler) -> None:
    """a batch of four is four batches of one"""
    alone = torch.cat([decoded(sampler, (i,)) for i in IDS])
    require(torch.equal(decoded(sampler), alone), "an example depends on the others of its batch")


def check_order_in_batch(sampler: Sampler) -> None:
    """the order in the batch does not matter"""
    backwards = decoded(sampler, IDS[::-1]).flip(0)
    require(
        torch.equal(decoded(sampler), backwards), "an example depends on its place in the batch"
    )


def check_generators(sampler: Sampler) -> None:
    """it leaves the global generators alone"""
    with generators_alone():
        decoded(sampler)


def check_seed(sampler: Sampler) -> None:
    """it draws noise if it is stochastic, and only then"""
    x, _ = start(IDS)
    seeds = [Noise(seed, IDS) for seed in (0, 1)]
    found = {"decode": [sampler.decode(eps, x, grid(), noise) for noise in seeds]}
    if sampler.inversion != "none":
        found["encode"] = [sampler.encode(eps, x, grid(), noise).latent for noise in seeds]
    for name, (first, second) in found.items():
        wrong = f"stochastic is {sampler.stochastic}, but {name} "
        wrong += "is the same under two seeds" if sampler.stochastic else "depends on the seed"
        require(torch.equal(first, second) != sampler.stochastic, wrong)


def check_dtype(sampler: Sampler) -> None:
    """it keeps the dtype of the state"""
    for dtype in (torch.float32, torch.float64):
        found = decoded(sampler, dtype=dtype).dtype
        require(found == dtype, f"a state of {dtype} comes back as {found}")


def check_projections(sampler: Sampler) -> None:
    """it calls project at every time of the grid, from the noisiest on"""
    seen: list[int] = []

    def project(x: Tensor, i: int) -> Tensor:
        seen.append(i)
        return x

    decoded(sampler, project=project)
    wanted = list(range(grid().steps + 1))
    first = list(dict.fromkeys(seen))
    require(first == wanted, f"project was called at {first} first, not at {wanted}")


def check_last_projection(sampler: Sampler) -> None:
    """what project returns at the last time is the result"""
    out = decoded(sampler, project=lambda x, i: torch.full_like(x, float(i)))
    require(torch.equal(out, torch.full_like(out, float(grid().steps))), "it is something else")


def check_cost(sampler: Sampler) -> None:
    """it evaluates eps as often as it says, or once more or less in the first or last step"""
    rows: list[int] = []

    def counted(x_BCHW: Tensor, t_B: Tensor) -> Tensor:
        rows.append(len(x_BCHW))
        return eps(x_BCHW, t_B)

    decoded(sampler, network=counted)
    steps, images = grid().steps, len(IDS)
    said = sampler.evaluations_per_step * steps * images
    found = sum(rows)
    require(
        found in (said - images, said, said + images),
        f"{steps} steps of {images} images cost {found} rows, and evaluations_per_step says {said}",
    )


# ------------------------------------------------------------------ order
def order_grid(steps: int) -> Grid:
    """Even in half_log, from alpha = 0.02 to 0.98; its times are -half_log."""
    top = 0.5 * math.log(0.98 / 0.02)
    half_log = [-top + 2 * top * i / steps for i in range(steps + 1)]
    alpha = tuple(1 / (1 + math.exp(-2 * h)) for h in half_log)
    return Grid(tuple(-h for h in half_log), alpha)


def of_gaussian(x_BCHW: Tensor, t_B: Tensor) -> Tensor:
    a = torch.sigmoid(-2 * t_B).view(-1, 1, 1, 1)
    return (1 - a) ** 0.5 * (x_BCHW - a**0.5 * _MEAN) / (a * _VARIANCE + 1 - a)


@dataclass(frozen=True)
class _Impulses(Noise):
    """Zeros, but for a one in row k at the k-th draw, from k = 1 on: what each draw leads to."""

    draws: list[int] = field(default_factory=list)

    def like(self, x_BCHW: Tensor, purpose: str, step: int = 0) -> Tensor:
        drawn = torch.zeros_like(x_BCHW)
        self.draws.append(step)
        drawn[len(self.draws) : len(self.draws) + 1] = 1.0
        return drawn


def moments(sampler: Sampler, steps: int) -> tuple[float, float]:
    """Mean and variance of what the sampler makes of the noisy Gaussian, without sampling error.

    The eps of a Gaussian is linear in x, and so is the result in the start and in every draw.
    """
    path = order_grid(steps)
    mean, variance = _noisy(path.alpha[0])
    first = _Impulses(0, ("a",))
    sampler.decode(of_gaussian, torch.full((1, 1, 1, 1), mean).double(), path, first)
    rows = len(first.draws) + 2  # the mean, each draw, and a start of one more
    x = torch.full((rows, 1, 1, 1), mean, dtype=torch.float64)
    x[-1] += 1
    noise = _Impulses(0, tuple(map(str, range(rows))))
    out = sampler.decode(of_gaussian, x, path, noise).flatten()
    gains = out[1:] - out[0]
    return float(out[0]), float(gains[:-1].square().sum() + variance * gains[-1] ** 2)


def _noisy(alpha: float) -> tuple[float, float]:
    """Mean and variance of the Gaussian at alpha."""
    return alpha**0.5 * _MEAN, alpha * _VARIANCE + 1 - alpha


def check_convergence(sampler: Sampler) -> None:
    """it samples the data, here a Gaussian, with an error that falls as its order says"""
    if sampler.order == 0:
        return
    coarse, fine = (_error(sampler, steps) for steps in (96, 192))
    require(fine < 0.05, f"mean or variance are off by {fine:.3f} after 192 steps")
    if fine > _ROUNDING:
        found = math.log2(coarse / fine)
        require(
            found > sampler.order - 0.35,
            f"the error falls with the step to the power {found:.2f}, and order is {sampler.order}",
        )


def _error(sampler: Sampler, steps: int) -> float:
    """How far the mean and the variance are from those of the data."""
    wanted = _noisy(order_grid(steps).alpha[-1])
    return math.dist(moments(sampler, steps), wanted)


# ------------------------------------------------------------------ inversion
def round_trip(
    sampler: Sampler, ids: tuple[str, ...] = IDS, back: Denoiser = eps
) -> tuple[Tensor, Tensor, Tensor]:
    """A source, its noise, and what decode makes of it."""
    x, noise = start(ids)
    inversion = sampler.encode(eps, x, grid(), noise)
    states, steps = inversion.states, grid().steps
    require(len(states) == steps + 1, f"encode gives {len(states)} states for {steps} steps")
    for part in (states, *inversion.extra):
        require(part[0].shape == x.shape, f"encode gives states of shape {tuple(part[0].shape)}")
    latent = inversion.latent
    return x, latent, sampler.decode(back, latent, grid(), noise, no_edit, inversion)


def check_inversion(sampler: Sampler) -> None:
    """it inverts as it says: exactly, approximately, or not at all"""
    if sampler.inversion == "none":
        try:
            round_trip(sampler)
        except UserError:
            return
        raise BrokenContract('inversion is "none", and encode raises no UserError')
    x, _, out = round_trip(sampler)
    error = float((out - x).abs().max() / x.abs().max())
    if sampler.inversion == "exact":
        require(error < _EXACT, f"it returns to its source with an error of {error:.1e}")
    else:
        require(error < 1, f"it comes back {error:.1f} times its source's size away")
        require(error > _EXACT, 'it is exact: say inversion = "exact"')


def check_noiseless_encode(sampler: Sampler) -> None:
    """it encodes from alpha = 1, or says that it does not and raises a UserError there"""
    if sampler.inversion == "none":
        return
    x, noise = start(IDS)
    try:
        states = sampler.encode(eps, x, grid("zero"), noise).states
    except UserError:
        require(
            not sampler.encodes_noiseless, "encode refuses alpha = 1: say encodes_noiseless = False"
        )
        return
    require(sampler.encodes_noiseless, "encodes_noiseless is False, and encode raises no UserError")
    require(bool(states.isfinite().all()), "a state is not finite: say encodes_noiseless = False")


def check_encode_cost(sampler: Sampler) -> None:
    """encode evaluates eps as often as it says"""
    if sampler.inversion == "none":
        return
    rows: list[int] = []

    def counted(x_BCHW: Tensor, t_B: Tensor) -> Tensor:
        rows.append(len(x_BCHW))
        return eps(x_BCHW, t_B)

    x, noise = start(IDS)
    sampler.encode(counted, x, grid(), noise)
    said = sampler.encode_evaluations_per_step * grid().steps * len(IDS)
    require(
        sum(rows) == said,
        f"encode costs {sum(rows)} rows, and encode_evaluations_per_step says {said}",
    )


def check_encode_batch(sampler: Sampler) -> None:
    """encode of a batch of four is four of one"""
    if sampler.inversion != "none":
        alone = torch.cat([round_trip(sampler, (i,))[1] for i in IDS])
        same = torch.equal(round_trip(sampler)[1], alone)
        require(same, "an example depends on the others of its batch")


def _other_eps(x_BCHW: Tensor, t_B: Tensor) -> Tensor:
    return 0.9 * eps(x_BCHW, t_B)


def check_other_prompt(sampler: Sampler) -> None:
    """with an inversion, another prompt leads elsewhere"""
    if sampler.inversion != "none" and sampler.order > 0:
        _, _, same = round_trip(sampler)
        _, _, other = round_trip(sampler, back=_other_eps)
        require(float((other - same).abs().max()) > 1e-3, "eps has no effect on decode")


CHECKS = (
    *(check_declarations, check_batch, check_order_in_batch, check_generators, check_seed),
    *(check_dtype, check_projections, check_last_projection, check_cost, check_convergence),
    *(check_inversion, check_noiseless_encode, check_encode_cost, check_encode_batch),
    check_other_prompt,
)
