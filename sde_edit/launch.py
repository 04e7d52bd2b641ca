"""Experiments -> finished, scored runs, one after the other in this process."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tqdm import tqdm

from sde_edit.contact import run_sheet
from sde_edit.evaluate import evaluate_run
from sde_edit.runner import ModelCache, execute, pick_device, plan
from sde_edit.store import Run, RunStore, run_id
from sde_edit.tracking import Tracker
from sde_edit.types import UserError

if TYPE_CHECKING:
    from sde_edit.config import Experiment

log = logging.getLogger("sde_edit")


def run_one(experiment: Experiment, models: ModelCache, evaluate: bool) -> Run:
    """Edit what is missing, draw the contact sheet, score what is not scored yet."""
    found = RunStore(experiment.settings.results).find(experiment.spec)
    todo = plan(experiment, found)
    log.info("%s: %s", run_id(experiment.spec), describe(experiment, todo.missing, todo.ids))
    with Tracker(experiment) as tracker:
        run = execute(experiment, models, tracker.progress)
        if todo.missing:
            tracker.images(run_sheet(run, experiment.dataset))
        if run.seal is None:
            log.info("shard %d is done; others are not", experiment.settings.shard)
        elif evaluate:
            tracker.scores(score(experiment, run))
    log.info("%s", run.path)
    return run


def finished_run(experiment: Experiment) -> Run:
    """The sealed run of an experiment. Raises UserError with the command that makes it."""
    run = RunStore(experiment.settings.results).find(experiment.spec)
    if run is None or run.seal is None:
        raise UserError(f"not finished yet: sde-edit run {' '.join(experiment.overrides)}")
    return run


def score(experiment: Experiment, run: Run, force: bool = False) -> dict[str, float]:
    """Metric name -> value of a sealed run, computing those that are missing."""
    with tqdm(desc="score", unit="img", leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        scores = evaluate_run(
            run,
            experiment.dataset,
            experiment.metrics,
            device=pick_device(experiment.settings.device),
            batch_size=experiment.settings.batch_size,
            workers=experiment.settings.loaders,
            force=force,
            on_progress=progress,
        )
    return {name: float(stored["value"]) for name, stored in scores.items()}


def describe(experiment: Experiment, missing: frozenset[str], ids: Sequence[str]) -> str:
    """One line on what is about to happen."""
    if not missing:
        return f"all {len(ids)} images are there, nothing left to do"
    cost = experiment.task.evaluations_per_image(experiment.spec.steps)
    return (
        f"{len(missing)} of {len(ids)} images to make, about {cost * len(missing)} "
        "network evaluations"
    )


def run_all(experiments: Sequence[Experiment], evaluate: bool = True) -> list[Run]:
    """Every run; one that fails leaves the others. Raises UserError listing the failures."""
    models, runs, failures = ModelCache(), [], []
    for number, experiment in enumerate(experiments, 1):
        log.info("[%d/%d] %s", number, len(experiments), " ".join(experiment.overrides))
        try:
            runs.append(run_one(experiment, models, evaluate))
        except UserError as error:
            if len(experiments) == 1:
                raise
            failures.append(f"{' '.join(experiment.overrides)}: {error}")
    if failures:
        raise UserError(
            f"{len(failures)} of {len(experiments)} runs failed\n" + "\n".join(failures)
        )
    return runs
