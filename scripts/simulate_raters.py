"""How often a 95 % interval of a preference covers the truth, with simulated raters.

    python scripts/simulate_raters.py --studies 1000 docs/study.md

puts the table between the two marker comments of the page, in a minute or two of one core. No
people are asked: raters and items differ in their log odds by normal amounts, and a rater's answer
is drawn with the odds that result. The truth is the preference of all such raters for all such
items.

Letters: R raters, N items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.random import Generator
from scipy.special import expit
from tabulate import tabulate

from sde_edit.study.statistics import Floats, Resampling, crossed, preference_interval, wilson

BEGIN, END = "<!-- coverage: begin -->\n", "<!-- coverage: end -->\n"
LOG_ODDS = 0.5  # of the first arm, for the mean rater and item
Interval = tuple[float, float]


@dataclass(frozen=True)
class Setting:
    """A study. spread_R, spread_N: standard deviations of raters and items, in log odds."""

    raters: int
    items: int
    spread_R: float
    spread_N: float

    def votes(self, rng: Generator) -> Floats:
        """The answers [R, N] of simulated raters."""
        raters_R = rng.normal(0, self.spread_R, self.raters)
        items_N = rng.normal(0, self.spread_N, self.items)
        chosen_RN = expit(LOG_ODDS + raters_R[:, None] + items_N)
        return (rng.random(chosen_RN.shape) < chosen_RN).astype(np.float64)

    def truth(self) -> float:
        """The mean preference, by Gauss-Hermite quadrature over raters and items together."""
        z, weight = np.polynomial.hermite_e.hermegauss(100)
        odds = expit(LOG_ODDS + np.hypot(self.spread_R, self.spread_N) * z)
        return float(odds @ weight / weight.sum())


SETTINGS = (
    Setting(6, 100, 0.0, 0.0),
    Setting(6, 100, 0.7, 1.0),
    Setting(6, 100, 0.5, 1.5),
    Setting(6, 22, 0.7, 1.0),
    Setting(3, 100, 0.7, 1.0),
    Setting(12, 100, 0.7, 1.0),
    Setting(24, 200, 0.7, 1.0),
)


def intervals(votes_RN: Floats, resampling: Resampling) -> dict[str, Interval]:
    """Heading -> interval: that of `sde-edit study results` last, and others to compare with."""
    raters, items = votes_RN.shape
    whole = Resampling(np.ones_like(resampling.raters_BR), np.ones_like(resampling.items_BN))
    drawn = {
        "over items": Resampling(whole.raters_BR, resampling.items_BN),
        "over raters": Resampling(resampling.raters_BR, whole.items_BN),
        "over both": resampling,
    }
    found = {"Wilson": wilson(float(votes_RN.sum()), raters * items)}
    found |= {name: _quantiles(which.means(votes_RN)) for name, which in drawn.items()}
    main = preference_interval(votes_RN, resampling)
    assert main
    return found | {"**over both, Student**": main}


def _quantiles(means_B: Floats) -> Interval:
    low, high = np.quantile(means_B, [0.025, 0.975])
    return float(low), float(high)


def simulated(setting: Setting, studies: int) -> Iterator[dict[str, Interval]]:
    """The intervals of so many studies."""
    rng = np.random.default_rng(0)
    resampling = crossed(setting.raters, setting.items)
    for _ in range(studies):
        yield intervals(setting.votes(rng), resampling)


def row(setting: Setting, studies: int) -> dict[str, str]:
    """A line of the table: coverages, and the mean half width of the main interval."""
    found, truth = list(simulated(setting, studies)), setting.truth()
    line = {
        "raters": str(setting.raters),
        "items": str(setting.items),
        "spreads": f"{setting.spread_R:g}, {setting.spread_N:g}",
    }
    covered = {name: [one[name] for one in found] for name in found[0]}
    line |= {name: f"{_coverage(ends, truth):.2f}" for name, ends in covered.items()}
    return line | {"half width": f"{_half_width(covered['**over both, Student**']):.2f}"}


def _coverage(ends: list[Interval], truth: float) -> float:
    return sum(low <= truth <= high for low, high in ends) / len(ends)


def _half_width(ends: list[Interval]) -> float:
    return sum(high - low for low, high in ends) / (2 * len(ends))


def table(studies: int) -> str:
    """The table in Markdown."""
    rows: list[Mapping[str, str]] = [row(setting, studies) for setting in SETTINGS]
    return tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True)


@click.command()
@click.option("--studies", default=1000, show_default=True, help="For each line.")
@click.argument("page", type=click.Path(exists=True, path_type=Path))
def main(studies: int, page: Path) -> None:
    """Write the table of coverage into a page."""
    said = f"Share of {studies} simulated studies whose interval covers the truth:"
    made = f"{BEGIN}\n{said}\n\n{table(studies)}\n\n{END}"
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{made}{after}", encoding="utf-8")
    click.echo(page)


if __name__ == "__main__":
    main()
