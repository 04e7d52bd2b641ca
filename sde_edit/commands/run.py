"""Makes and scores the runs of experiments, one after the other in this process."""

from __future__ import annotations

import logging
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from tqdm import tqdm

from sde_edit import config
from sde_edit.api.dataset import Dataset
from sde_edit.api.experiment import Settings
from sde_edit.api.launcher import Job
from sde_edit.api.metric import NamedMetric
from sde_edit.commands.scores import describe_places, describe_scores, save_side_by_side
from sde_edit.engine.attempt import Attempt, check_machine, pick_device
from sde_edit.engine.damage import remove_damaged
from sde_edit.engine.execute import ModelCache
from sde_edit.engine.output import ActiveRun, OnBatch
from sde_edit.engine.plan import Plan, plan_run, seal_if_complete
from sde_edit.engine.producer import describe, inspect_missing, producer_of
from sde_edit.engine.progress import MININTERVAL
from sde_edit.engine.shared_encoding import group_by_shared_encoding
from sde_edit.engine.tracking import Tracker
from sde_edit.errors import UserError
from sde_edit.evaluation.evaluate import check_metrics, evaluate_run, measure_run, score_path
from sde_edit.evaluation.outputs import DamagedOutputError, load_item
from sde_edit.overrides import expand, keyed
from sde_edit.report.contact_sheet import run_sheet
from sde_edit.store.runs import Run, RunStore, run_id

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment
    from sde_edit.evaluation.outputs import Item

log = logging.getLogger("sde_edit")
_TRACKED = 32  # examples whose images a tracker shows


@dataclass(frozen=True)
class _Request:
    """An experiment, its run, and what the run lacks."""

    experiment: Experiment
    run: Run
    plan: Plan


def run_together(
    experiments: Sequence[Experiment],
    models: ModelCache,
    evaluate: bool = True,
    on_images: Callable[[int], None] = lambda images: None,
) -> list[Run]:
    """Make the missing images of a shard, draw the contact sheet, compute the missing scores.

    experiments: one, or a group that shares its encoding (see `group_by_shared_encoding`). A shard
    measures its own images; the process that finds the run complete seals it and merges the scores.

    The data is read twice: once by `inspect_missing`, before the network, and once by the producer,
    while it makes the images. Neither holds more than about two batches in memory. If scoring finds
    an image damaged, all are checked and what is damaged is made again.
    """
    try:
        return _make_and_score(experiments, models, evaluate, on_images)
    except DamagedOutputError:
        for run in (RunStore(e.settings.results).find(e.spec) for e in experiments):
            if run:
                remove_damaged(run, every=True)
        return _make_and_score(experiments, models, evaluate, on_images)


@dataclass(frozen=True)
class _Failure:
    """What hindered the run of an experiment."""

    experiment: Experiment
    error: UserError

    def __str__(self) -> str:
        return f"{' '.join(self.experiment.overrides)}: {self.error}"


def _make_group(
    group: Sequence[Experiment],
    models: ModelCache,
    evaluate: bool = True,
    on_images: Callable[[int], None] = lambda images: None,
) -> tuple[list[Run], list[_Failure]]:
    """The runs of a group that were made, and what hindered the others.

    A group that fails is made again run by run, so that none stops the others.
    """
    try:
        with without_empty_runs(group):
            return run_together(group, models, evaluate, on_images), []
    except UserError as error:
        if len(group) == 1:
            return [], [_Failure(group[0], error)]
    alone = [_make_group([one], models, evaluate, on_images) for one in group]
    return [run for runs, _ in alone for run in runs], [
        one for _, failed in alone for one in failed
    ]


def _make_and_score(
    experiments: Sequence[Experiment],
    models: ModelCache,
    evaluate: bool,
    on_images: Callable[[int], None],
) -> list[Run]:
    requests = [_request(experiment) for experiment in experiments]
    with ExitStack() as stack:
        at_work = _begin(requests, stack, evaluate=evaluate, on_images=on_images)
        if missing := [active for active, _ in at_work if active.plan.missing]:
            producer_of(missing[0].experiment).make(missing, models)
        for active, tracker in at_work:
            _finish(active, tracker, evaluate=evaluate)
    return [request.run for request in requests]


def _request(experiment: Experiment) -> _Request:
    run = RunStore(experiment.settings.results).open(experiment.spec)
    remove_damaged(run)
    return _Request(experiment, run, plan_run(experiment, run))


def _begin(
    requests: Sequence[_Request],
    stack: ExitStack,
    *,
    evaluate: bool,
    on_images: Callable[[int], None],
) -> list[tuple[ActiveRun, Tracker]]:
    """Open the runs that are not finished, check their missing examples, announce what they cost.

    Attempts start before the check of examples, so that they record its errors.
    """
    for request in requests:
        if request.plan.missing:
            check_machine(request.experiment.settings)
    opened = []
    for request in requests:
        metrics = request.experiment.metrics if evaluate else ()
        if not is_finished(request.run, request.plan, metrics):
            attempt = Attempt(request.experiment, request.run, request.plan)
            tracker = Tracker(request.experiment)
            opened.append((request, stack.enter_context(attempt), stack.enter_context(tracker)))
    planned = [(request.experiment, request.plan) for request, *_ in opened]
    outlooks = inspect_missing(planned, scored=evaluate)
    at_work = []
    for (request, attempt, tracker), outlook in zip(opened, outlooks, strict=True):
        on_batch = _on_batch(tracker, on_images)
        parts = (request.experiment, request.run, request.plan)
        active = ActiveRun(*parts, outlook.evaluations, attempt, on_batch, outlook.cut)
        at_work.append((active, tracker))
    _announce(requests, {active.run.id: active.evaluations for active, _ in at_work})
    return at_work


def _announce(requests: Sequence[_Request], costs: dict[str, int]) -> None:
    for request in requests:
        cost = costs.get(request.run.id, 0)
        log.info("%s: %s", request.run.id, describe(request.experiment, request.plan, cost))


def _finish(active: ActiveRun, tracker: Tracker, *, evaluate: bool) -> None:
    """Draw the contact sheet, then seal and score what is complete.

    The sheet reads its few examples again: they are the first of the data set, which this process
    need not have made.
    """
    experiment, run, plan = active.experiment, active.run, active.plan
    metrics = experiment.metrics if evaluate else ()
    if plan.missing:
        hidden = experiment.task.uses_mask
        tracker.images(run_sheet(run, experiment.dataset, hidden=hidden), _shown(run, experiment))
    try:
        if experiment.settings.shards > 1:
            measure_shard(experiment, run, plan, metrics)
    finally:  # a metric that fails does not leave the run unsealed
        seal_if_complete(run, plan)
    if run.seal:
        tracker.scores(score(experiment.settings, run, experiment.dataset, metrics))
    else:
        log.info("shard %d is done; others are not", experiment.settings.shard)


def _shown(run: Run, experiment: Experiment) -> Iterator[Item]:
    """The first examples with their outputs, for the tracker."""
    made, dataset = run.rows(), experiment.dataset
    ids = islice((i for i in dataset.ids() if i in made), _TRACKED)
    return (load_item(run, dataset, made[i]) for i in ids)


def check_wanted_metrics(experiments: Sequence[Experiment]) -> None:
    """Check the metrics whose scores are missing, each once. Raises UserError listing problems."""
    wanted = {named.spec.name: named for e in experiments for named in _missing_metrics(e)}
    if problems := check_metrics(list(wanted.values())):
        raise UserError("\n".join(problems))


def _missing_metrics(experiment: Experiment) -> list[NamedMetric]:
    run = RunStore(experiment.settings.results).find(experiment.spec)
    if run is None or not plan_run(experiment, run).sealed:
        return list(experiment.metrics)
    return [named for named in experiment.metrics if not _has_score(run, named)]


def is_finished(run: Run, plan: Plan, metrics: Sequence[NamedMetric]) -> bool:
    """Whether the run has its spec, and had every image and a seal when it was planned, and all
    scores."""
    whole = run.has_spec and not plan.missing and plan.sealed
    return whole and all(_has_score(run, named) for named in metrics)


def _has_score(run: Run, named: NamedMetric) -> bool:
    return run.stored_score(score_path(run, named), named.spec.name) is not None


def _on_batch(tracker: Tracker, on_images: Callable[[int], None]) -> OnBatch:
    reported = 0

    def on_batch(images: int, images_per_second: float, evaluations: int) -> None:
        nonlocal reported
        tracker.progress(images, images_per_second, evaluations)
        on_images(images - reported)
        reported = images

    return on_batch


class Worker:
    """Does the jobs of a sweep in one process and keeps the model between jobs."""

    def __init__(self) -> None:
        self._models = ModelCache()

    def __call__(self, job: Job, on_images: Callable[[int], None]) -> None:
        config.use_plugins(job.overrides[0])
        experiments = [config.experiment(one) for one in job.overrides]
        _, failures = _make_group(experiments, self._models, on_images=on_images)
        if failures:
            raise _error_of(failures, len(experiments))


def finished_run(experiment: Experiment) -> Run:
    """The sealed run of an experiment. Raises UserError with the command that would make it."""
    run = RunStore(experiment.settings.results).find(experiment.spec)
    if run is None or run.seal is None:
        raise UserError(f"not finished yet: sde-edit run {shlex.join(experiment.overrides)}")
    return run


def score(
    settings: Settings,
    run: Run,
    dataset: Dataset,
    metrics: Sequence[NamedMetric],
    force: bool = False,
) -> dict[str, float]:
    """Metric name -> value for a sealed run; computes the missing scores.

    This is a pass of its own over the stored images: it checks what was sealed, may run in another
    process or later, and keeps the metrics' networks out of memory while the images are made.
    """
    with _score_bar() as on_progress:
        scores = evaluate_run(
            run,
            dataset,
            metrics,
            cache=settings.cache,
            device=pick_device(settings.device),
            batch_size=settings.batch_size,
            workers=settings.loaders,
            force=force,
            on_progress=on_progress,
        )
    return {name: score.value for name, score in scores.items()}


def measure_shard(
    experiment: Experiment, run: Run, plan: Plan, metrics: Sequence[NamedMetric]
) -> None:
    """Measure the images of a shard, for the process that scores the run."""
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
    with tqdm(desc="score", unit="img", leave=False, mininterval=MININTERVAL, delay=2) as bar:

        def on_progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield on_progress


@contextmanager
def without_empty_runs(experiments: Sequence[Experiment]) -> Iterator[None]:
    """Context manager: after a UserError, removes the new runs that have no image.

    Impossible settings leave nothing behind. A run that another process may still work on stays.
    """
    new = [one for one in experiments if RunStore(one.settings.results).find(one.spec) is None]
    try:
        yield
    except UserError:
        for experiment in new:
            run = RunStore(experiment.settings.results).find(experiment.spec)
            if run and run.came_to_nothing:
                shutil.rmtree(run.path)
        raise


def experiments_of(overrides: Sequence[str]) -> list[Experiment]:
    """The experiments that `sde-edit run` makes of its overrides, one per combination.

    Raises UserError, before any expensive work, for what cannot be run.
    """
    if launchers := keyed(overrides, "launcher"):
        raise UserError(f"{launchers[0]}: run works in this process; launchers are for sweep")
    return [config.experiment(combination) for combination in expand(overrides)]


def run_all(
    experiments: Sequence[Experiment], evaluate: bool = True, models: ModelCache | None = None
) -> list[Run]:
    """Make every run; a failure does not stop the others. Raises UserError listing the failures.

    models: what earlier runs have loaded.
    """
    runs, error = make_all(experiments, evaluate, models)
    if error:
        raise error
    return runs


def make_all(
    experiments: Sequence[Experiment], evaluate: bool, models: ModelCache | None = None
) -> tuple[list[Run], UserError | None]:
    """The runs that were made, and an error that lists the failures, which do not stop the others.

    The metrics that will score the runs are checked before anything else; raises UserError if one
    cannot be used.
    """
    if evaluate:
        check_wanted_metrics(experiments)
    models = models or ModelCache()
    runs: list[Run] = []
    failures: list[_Failure] = []
    groups = group_by_shared_encoding(experiments)
    for number, group in enumerate(groups, 1):
        label = "; ".join(" ".join(experiment.overrides) for experiment in group)
        log.info("[%d/%d] %s", number, len(groups), label)
        made, failed = _make_group(group, models, evaluate)
        runs += made
        failures += failed
    return runs, _error_of(failures, len(experiments)) if failures else None


def _error_of(failures: Sequence[_Failure], of: int) -> UserError:
    """The failure of the only run, or a list."""
    if of == 1:
        return failures[0].error
    return UserError("\n".join([f"{len(failures)} of {of} runs failed", *map(str, failures)]))


def run_and_describe(overrides: Sequence[str], *, evaluate: bool) -> Iterator[str]:
    """Make the runs of the overrides; yield their scores and places, then raise what failed."""
    experiments = experiments_of(overrides)
    runs, error = make_all(experiments, evaluate)
    asked = asked_metrics(experiments) if evaluate else {}
    finished = list({run.id: run for run in runs if run.seal}.values())
    if finished:
        yield describe_scores(finished, asked, whole=False)
    if runs:
        yield describe_places(runs)
    if len(finished) > 1:
        first = next(one for one in experiments if run_id(one.spec) == finished[0].id)
        yield f"side by side: {save_side_by_side(finished, first)}"
    if error:
        raise error


def asked_metrics(experiments: Sequence[Experiment]) -> dict[str, set[str]]:
    """Run id -> the names of the metrics that its experiments ask for."""
    asked: dict[str, set[str]] = {}
    for one in experiments:
        asked.setdefault(run_id(one.spec), set()).update(named.spec.name for named in one.metrics)
    return asked
