"""`sde-edit summary`: finished runs side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sde_edit.commands.run import finished_run
from sde_edit.commands.scores import describe_scores, save_side_by_side
from sde_edit.config import experiment
from sde_edit.errors import UserError
from sde_edit.overrides import expand
from sde_edit.store.runs import log_damage


def publish_summary(overrides: Sequence[str]) -> Iterator[str]:
    """A Markdown table of the runs of the overrides; then their contact sheet's path, once drawn.

    Raises UserError without overrides, and for a run that is not finished.
    """
    if not overrides:
        raise UserError(
            "summary shows the runs of its overrides side by side, such as sampler=ode,sde; "
            "sde-edit runs lists every run"
        )
    experiments = [experiment(combination) for combination in expand(overrides)]
    runs = list({run.id: run for run in map(finished_run, experiments)}.values())
    log_damage(runs)
    yield describe_scores(runs, whole=True)
    yield f"contact sheet: {save_side_by_side(runs, experiments[0])}"
