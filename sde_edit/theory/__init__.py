"""The theory of Sec. 3.2 on the toy of App. E, computed without sampling noise.

mixture     q_t, its score and exact eps; schedules; the priors
density     densities carried through the samplers' own transition kernels
divergence  D_KL, D_Fisher, the two sides of Theorem 3.1, the bound of Prop. D.1
sobolev     the log-Sobolev constant that the bound rests on
cycle       Cycle-SDE as a Markov chain of pairs (source, edit)
plots       Fig. 5, D_KL over time, and under other noise schedules
tables      the tables of docs/theory.md
record      the theorems' numbers as a stored table
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

FIGURES = {
    "figure5": "Fig. 5: histograms of the 1-D toy for three priors, SDE and ODE",
    "theory_kl": "The divergence of Sec. 3.2 over time for ODE, SDE and Cycle-SDE, with its bounds",
    "theory_schedules": "What is left of it by noise schedule: linear, cosine, exponential",
}


def figures() -> dict[str, Callable[[Path], list[Path]]]:
    """Name -> a function of the results folder that writes `figures/<name>.{png,svg,pdf}` there.

    `theory_kl` also writes its numbers, as the table `tables/theory_kl.{md,csv,json,tex}`.
    """
    return {name: _writer(name) for name in FIGURES}


def _writer(name: str) -> Callable[[Path], list[Path]]:
    def write(results: Path) -> list[Path]:
        from sde_edit.theory.plots import DRAWERS  # torch and matplotlib: seconds to import

        drawn = DRAWERS[name](results / "figures")
        return [*drawn, *_recorded(results)] if name == "theory_kl" else drawn

    return write


def _recorded(results: Path) -> list[Path]:
    from sde_edit.report.formats import rendered
    from sde_edit.store.files import write_together
    from sde_edit.theory.record import kl_table

    files = rendered(kl_table(), results / "tables")
    write_together(files)
    return list(files)


def numbers() -> str:
    """The tables of docs/theory.md as Markdown. Takes a minute or two on one core."""
    from sde_edit.theory.tables import markdown

    return markdown()
