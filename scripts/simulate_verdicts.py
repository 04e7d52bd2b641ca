"""How often verdicts over a family are wrong, and how often they find what is there.

    python scripts/simulate_verdicts.py --families 400

prints the tables of docs/statistics.md, in about ten minutes of one core. The Fréchet distance is
drawn only if --only names it. Families of comparisons are drawn at random, each a matrix of paired
differences [N, M], bootstrapped over its N examples, and judged by the code that judges the tables.

Letters: B resamplings, N examples, M comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import click
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from tabulate import tabulate

from sde_edit.api.metric import centred_interval
from sde_edit.metrics.frechet import frechet_distance
from sde_edit.report.cells import Difference, over_family, verdict_of
from sde_edit.report.multiplicity import LEVEL, studentised, two_sided_p
from sde_edit.report.table import Cell

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Family:
    """Comparisons of which the first `effects` have a mean of `effect` standard deviations.

    correlation: between any two comparisons. spread: standard deviations of the comparisons and of
    the examples differ by factors of e^(spread z), z normal. skew: of a log-normal distribution
    with this sigma, in place of a normal one; 0.5 has a skewness of 1.8, and 1 of 6.2. binary:
    differences are -1, 0 or 1, and 0 in four of five cases.
    """

    comparisons: int = 40
    correlation: float = 0.0
    effects: int = 0
    effect: float = 0.0
    spread: float = 0.0
    skew: float = 0.0
    binary: bool = False

    def draw(self, n: int, rng: Generator) -> Floats:
        """Paired differences [N, M]."""
        m = self.comparisons
        common_N1 = rng.normal(size=(n, 1))
        own_NM = rng.normal(size=(n, m))
        z_NM = self.correlation**0.5 * common_N1 + (1 - self.correlation) ** 0.5 * own_NM
        if self.skew:
            v = self.skew**2
            z_NM = (np.exp(self.skew * z_NM - v / 2) - 1) / (np.exp(v) - 1) ** 0.5
        z_NM[:, : self.effects] += self.effect
        if self.binary:
            return (z_NM > 1.2816).astype(np.float64) - (z_NM < -1.2816)
        scale_N1 = np.exp(self.spread * rng.normal(size=(n, 1)))
        scale_M = np.exp(self.spread * rng.normal(size=m))
        scaled_NM: Floats = z_NM * scale_N1 * scale_M
        return scaled_NM

    def drawn(self, n: int, resamplings: int, rng: Generator) -> Drawn:
        """A family whose metric is a mean over examples."""
        x_NM = self.draw(n, rng)
        return Drawn(x_NM.mean(0), _counts(n, resamplings, rng) @ x_NM / n, n)


@dataclass(frozen=True)
class FrechetFamily:
    """Arms with equal distributions of normal features, against a baseline, by Fréchet distance.

    Features of one example are correlated by 0.8 between arms and with the reference.
    """

    comparisons: int = 4
    features: int = 8
    effects: int = 0

    def drawn(self, n: int, resamplings: int, rng: Generator) -> Drawn:
        """A family of differences of distances to the same references."""
        scene_ND = rng.normal(size=(n, self.features))
        own_AND = rng.normal(size=(self.comparisons + 2, n, self.features))
        reference_ND, *arms_AND = torch.from_numpy(0.8**0.5 * scene_ND + 0.2**0.5 * own_AND)
        counts_BN = torch.from_numpy(np.vstack([np.ones(n), _counts(n, resamplings, rng)]))
        distances_BA = np.array(
            [
                [float(frechet_distance(x_ND, reference_ND, counts_N)) for x_ND in arms_AND]
                for counts_N in counts_BN
            ]
        )
        value_M, *replicates_BM = distances_BA[:, 1:] - distances_BA[:, :1]
        return Drawn(value_M, np.array(replicates_BM), n)


def _counts(n: int, resamplings: int, rng: Generator) -> Floats:
    """How often each resampling draws each example [B, N]."""
    return rng.multinomial(n, np.full(n, 1 / n), size=resamplings).astype(np.float64)


_NULL = Family()
_MIXED = Family(effects=20, effect=0.3)
FAMILIES: dict[str, Family | FrechetFamily] = {
    "null": _NULL,
    "null, correlated": replace(_NULL, correlation=0.8),
    "null, heteroscedastic": replace(_NULL, spread=0.5),
    "null, skewed": replace(_NULL, skew=0.5),
    "null, very skewed": replace(_NULL, skew=1.0),
    "null, binary": replace(_NULL, binary=True),
    "null, 400 comparisons": replace(_NULL, comparisons=400),
    "mixed": _MIXED,
    "mixed, correlated": replace(_MIXED, correlation=0.8),
    "mixed, heteroscedastic": replace(_MIXED, spread=0.5),
    "mixed, binary": replace(_MIXED, binary=True),
    "null, Fréchet distance": FrechetFamily(),
}


@dataclass(frozen=True)
class Drawn:
    """A family that was drawn: values [M] and replicates [B, M] of its comparisons."""

    values_M: Floats
    replicates_BM: Floats
    n: int


@dataclass(frozen=True)
class Found:
    """Which of the comparisons each rule decides, bool [M]."""

    uncorrected: Bools
    bonferroni: Bools
    holm: Bools
    max_t: Bools
    benjamini_hochberg: Bools


def simulated(
    family: Family | FrechetFamily, *, n: int, families: int, resamplings: int, seed: int = 0
) -> Iterator[Drawn]:
    """So many families over n examples, each with resamplings of its own."""
    rng = np.random.default_rng(seed)
    for _ in range(families):
        yield family.drawn(n, resamplings, rng)


def judge(drawn: Drawn) -> Found:
    """Max-T and Benjamini-Hochberg by the code of the tables; the others for comparison."""
    cells = over_family([_difference(drawn, m) for m in range(len(drawn.values_M))])
    p_M = np.array([cell.p for cell in cells])
    return Found(
        uncorrected=np.array([cell.pointwise != "undecided" for cell in cells]),
        bonferroni=p_M * len(p_M) <= LEVEL,
        holm=holm(p_M) <= LEVEL,
        max_t=np.array([cell.verdict != "undecided" for cell in cells]),
        benjamini_hochberg=np.array([cell.exploratory for cell in cells]),
    )


def _difference(drawn: Drawn, m: int) -> Difference:
    value, replicates_B = float(drawn.values_M[m]), drawn.replicates_BM[:, m]
    low, high = centred_interval(value, replicates_B)
    verdict = verdict_of(low, high, higher_is_better=True)
    p = two_sided_p(value, replicates_B, drawn.n)
    return Difference(Cell(value, low, high, pointwise=verdict, p=p), studentised(replicates_B))


def holm(p_M: Floats) -> Floats:
    """Adjusted p-values [M] (Holm 1979)."""
    up_M = np.argsort(p_M)
    adjusted_M = np.empty(len(p_M))
    scaled_M = p_M[up_M] * np.arange(len(p_M), 0, -1)
    adjusted_M[up_M] = np.minimum(np.maximum.accumulate(scaled_M), 1)
    return adjusted_M


RULES = ("uncorrected", "bonferroni", "holm", "max_t", "benjamini_hochberg")


def rates(family: Family | FrechetFamily, **how: int) -> list[tuple[float, float, float]]:
    """(family-wise error rate, power, false discovery rate) of each of `RULES`.

    The power is the share of the effects that are found, 0 without effects.
    """
    found = [judge(one) for one in simulated(family, **how)]
    rows = []
    for rule in RULES:
        decided = np.array([getattr(one, rule) for one in found])  # [families, M]
        wrong, right = decided[:, family.effects :].sum(1), decided[:, : family.effects].sum(1)
        false = wrong / np.maximum(wrong + right, 1)
        power = right.mean() / family.effects if family.effects else 0.0
        rows.append((float((wrong > 0).mean()), float(power), float(false.mean())))
    return rows


@click.command()
@click.option("--families", default=400, show_default=True, help="Drawn for each line.")
@click.option("--resamplings", default=1000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--n", "sizes", multiple=True, type=int, default=(32, 128, 1024), show_default=True)
@click.option(
    "--only", multiple=True, type=click.Choice(list(FAMILIES)), help="Default: all but the last."
)
def main(
    families: int, resamplings: int, seed: int, sizes: tuple[int, ...], only: tuple[str, ...]
) -> None:
    """Print error rates and power of each rule, as Markdown."""
    lines = []
    for name in only or [name for name, one in FAMILIES.items() if isinstance(one, Family)]:
        for n in sizes:
            how = {"n": n, "families": families, "resamplings": resamplings, "seed": seed}
            found = rates(FAMILIES[name], **how)
            cells = [f"{error:.3f}" for error, *_ in found[:4]] + [f"{found[4][2]:.3f}"]
            if FAMILIES[name].effects:
                cells = [
                    f"{cell}, {power:.2f}" for cell, (_, power, _) in zip(cells, found, strict=True)
                ]
            lines.append([name, n, *cells])
            click.echo(f"{name}, n = {n}", err=True)
    click.echo(tabulate(lines, ["family", "n", *RULES], tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main()
