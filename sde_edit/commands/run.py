"""Experiments -> finished, scored runs, one after the other in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tqdm import tqdm

from sde_edit import config
from sde_edit.api.launcher import Job
from sde_edit.api.metric import NamedMetric
from sde_edit.api.sampler import ExternalOutputs
from sde_edit.api.task import SharesWayUp
from sde_edit.engine.attempt import Attempt, pick_device
from sde_edit.engine.execute import ModelCache, execute
from sde_edit.engine.output import ActiveRun, OnBatch
from sde_edit.engine.plan import Plan, evaluations, is_sealed, notices, plan_run, seal_if_complete
from sde_edit.engine.progress import MININTERVAL
from sde_edit.engine.tracking import Tracker
from sde_edit.errors import UserError
from sde_edit.evaluation.evaluate import evaluate_run, measure_run, score_path
from sde_edit.report.contact_sheet import run_sheet
from sde_edit.store.runs import Run, RunStore

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment

log = logging.getLogger("sde_edit")
T_0 = "task.t_0="  # the override in which runs may differ that share their way up


def run_together(
    experiments: Sequence[Experiment],
    models: ModelCache,
    evaluate: bool = True,
    on_images: Callable[[int], None] = lambda images: None,
) -> list[Run]:
    """Make the images that are missing of a shard, draw the contact sheet, score what is not yet:
    of one run, or of several that share their way up (see `shared`).

    A shard measures its own images; whoever finds the run complete seals it and merges the scores.
    """
    runs = [RunStore(e.settings.results).open(e.spec) for e in experiments]
    with ExitStack() as stack:
        at_work = []
        plans = [
            plan_run(experiment, run) for experiment, run in zip(experiments, runs, strict=True)
        ]
        costs = _costs(experiments, plans)
        for experiment, run, plan, cost in zip(experiments, runs, plans, costs, strict=True):
            log.info("%s: %s", run.id, describe(experiment, plan, cost))
            if not is_finished(run, plan, experiment.metrics if evaluate else ()):
                attempt = stack.enter_context(Attempt(experiment, run, plan))
                tracker = stack.enter_context(Tracker(experiment))
                on_batch = _on_batch(tracker, on_images)
                at_work.append((ActiveRun(experiment, run, plan, cost, attempt, on_batch), tracker))
        if missing := [active for active, _ in at_work if active.plan.missing]:
            execute(missing, models)
        for active, tracker in at_work:
            _finish(active, tracker, evaluate=evaluate)
    return runs


def _costs(experiments: Sequence[Experiment], plans: Sequence[Plan]) -> list[int]:
    """Evaluations that each has left; a way up that is shared counts for the one that goes it."""
    wanting = [e for e, plan in zip(experiments, plans, strict=True) if plan.missing]
    top = max(map(t_0_of, wanting), default=1.0)
    return [
        evaluations(e, sorted(plan.missing), counts_encoding=t_0_of(e) == top)
        for e, plan in zip(experiments, plans, strict=True)
    ]


def t_0_of(experiment: Experiment) -> float:
    """How far up it goes: of runs that share their way up the largest goes it for all."""
    return experiment.task.t_0 if isinstance(experiment.task, SharesWayUp) else 1.0


def _finish(active: ActiveRun, tracker: Tracker, *, evaluate: bool) -> None:
    experiment, run, plan = active.experiment, active.run, active.plan
    metrics = experiment.metrics if evaluate else ()
    if plan.missing:
        hidden = experiment.task.uses_mask
        tracker.images(run_sheet(run, experiment.dataset, hidden=hidden))
    if experiment.settings.shards > 1:
        measure_shard(experiment, run, plan, metrics)
    seal_if_complete(run, plan)
    if run.seal:
        tracker.scores(score(experiment, run, metrics))
    else:
        log.info("shard %d is done; others are not", experiment.settings.shard)
    log.info("%s", run.path)


def shared(experiments: Sequence[Experiment]) -> list[list[Experiment]]:
    """The experiments in groups of those that differ in task.t_0 alone and can share their way up;
    the order of the first of each group."""
    groups: dict[object, list[Experiment]] = {}
    for number, experiment in enumerate(experiments):
        rest = tuple(o for o in experiment.overrides if not o.startswith(T_0))
        alike = isinstance(experiment.task, SharesWayUp) and rest != experiment.overrides
        groups.setdefault(rest if alike else number, []).append(experiment)
    return list(groups.values())


def is_finished(run: Run, plan: Plan, metrics: Sequence[NamedMetric]) -> bool:
    """Every image there, sealed and scored."""
    scored = all(score_path(run, named).exists() for named in metrics)
    return not plan.missing and is_sealed(run, plan) and scored


def _on_batch(tracker: Tracker, on_images: Callable[[int], None]) -> OnBatch:
    told = 0

    def on_batch(images: int, images_per_second: float, evaluations: int) -> None:
        nonlocal told
        tracker.progress(images, images_per_second, evaluations)
        on_images(images - told)
        told = images

    return on_batch


class Worker:
    """Does the jobs of a sweep in one process, and keeps its model from job to job."""

    def __init__(self) -> None:
        self._models = ModelCache()

    def __call__(self, job: Job, on_images: Callable[[int], None]) -> None:
        experiments = [config.experiment(one) for one in config.expand(job.overrides)]
        run_together(experiments, self._models, on_images=on_images)


def finished_run(experiment: Experiment) -> Run:
    """The sealed run of an experiment. Raises UserError with the command that makes it."""
    run = RunStore(experiment.settings.results).find(experiment.spec)
    if run is None or run.seal is None:
        raise UserError(f"not finished yet: sde-edit run {' '.join(experiment.overrides)}")
    return run


def score(
    experiment: Experiment, run: Run, metrics: Sequence[NamedMetric], force: bool = False
) -> dict[str, float]:
    """Metric name -> value of a sealed run, computing those that are missing."""
    settings = experiment.settings
    with _score_bar() as on_progress:
        scores = evaluate_run(
            run,
            experiment.dataset,
            metrics,
            cache=settings.cache,
            device=pick_device(settings.device),
            batch_size=settings.batch_size,
            workers=settings.loaders,
            force=force,
            on_progress=on_progress,
        )
    return {name: float(stored["value"]) for name, stored in scores.items()}


def measure_shard(
    experiment: Experiment, run: Run, plan: Plan, metrics: Sequence[NamedMetric]
) -> None:
    """Measure the images of a shard, for whoever scores the run."""
    settings = experiment.settings
    with _score_bar() as on_progress:
        measure_run(
            run,
            experiment.dataset,
            metrics,
            plan.batches,
            cache=settings.cache,
            device=pick_device(settings.device),
            workers=settings.loaders,
            on_progress=on_progress,
        )


@contextmanager
def _score_bar() -> Iterator[Callable[[int, int], None]]:
    with tqdm(desc="score", unit="img", leave=False, mininterval=MININTERVAL) as bar:

        def on_progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield on_progress


def describe(experiment: Experiment, plan: Plan, cost: int) -> str:
    """One line on what is about to happen, for about `cost` evaluations."""
    missing, ids = plan.missing, plan.ids
    if not missing:
        return f"all {len(ids)} images are there, nothing left to do"
    if isinstance(experiment.sampler, ExternalOutputs):
        without = f"; {n} examples have none" if (n := experiment.excluded) else ""
        return f"{len(missing)} of {len(ids)} images to bring in{without}"
    said = f"{len(missing)} of {len(ids)} images to make, about {cost} network evaluations"
    return "; ".join([said, *notices(experiment)])


def run_all(experiments: Sequence[Experiment], evaluate: bool = True) -> list[Run]:
    """Every run; one that fails leaves the others. Raises UserError listing the failures."""
    models, runs, failures = ModelCache(), [], []
    groups = shared(experiments)
    for number, group in enumerate(groups, 1):
        said = "; ".join(" ".join(experiment.overrides) for experiment in group)
        log.info("[%d/%d] %s", number, len(groups), said)
        try:
            runs += run_together(group, models, evaluate)
        except UserError as error:
            if len(groups) == 1:
                raise
            failures.append(f"{said}: {error}")
    if failures:
        raise UserError(f"{len(failures)} of {len(groups)} runs failed\n" + "\n".join(failures))
    return runs
