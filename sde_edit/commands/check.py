"""`sde-edit check`: two examples from the data to the scores, and what the whole would take."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch

from sde_edit.api.metric import NamedMetric
from sde_edit.api.sampler import Sampler
from sde_edit.bench.engine import peak_memory, wall_seconds
from sde_edit.commands.sweep import gib
from sde_edit.config import (
    compose_config,
    data_set,
    experiment,
    launcher,
    metric,
    plugin_settings,
    sweep_overrides,
)
from sde_edit.engine.attempt import Attempt, pick_device
from sde_edit.engine.execute import ModelCache
from sde_edit.engine.output import ActiveRun
from sde_edit.engine.plan import Plan, pixels, plan_run, seal_if_complete
from sde_edit.engine.producer import Outlook, inspect_missing, producer_of
from sde_edit.engine.tracking import online_problem
from sde_edit.errors import UserError
from sde_edit.evaluation.evaluate import check_metrics, evaluate_run, measure_run
from sde_edit.imaging.subset import Subset
from sde_edit.registry import build, plugin_class
from sde_edit.report.formats import markdown
from sde_edit.report.table import Block, Cell, Column, Row, Table
from sde_edit.store.files import write_atomic
from sde_edit.store.processes import temporary_prefix
from sde_edit.store.runs import Run, RunStore, run_id

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment
    from sde_edit.api.launcher import Launcher

_EXAMPLES = 2
TEMPORARY = ".check"  # folders beside the runs


@dataclass
class Problems:
    """What is missing, each message once."""

    messages: list[str] = field(default_factory=list)

    def add(self, message: str) -> None:
        if message not in self.messages:
            self.messages.append(message)

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Context manager: keep a UserError as a problem."""
        try:
            yield
        except UserError as error:
            self.add(str(error))


@dataclass(frozen=True)
class Trial:
    """What two examples took, of the largest if images differ in size.

    evaluations, seconds and scoring: per image of so many pixels, without loading and first calls,
    which may compile. seconds: those of preparations such as LoRAs included. size: bytes of a
    stored image. memory: peak in bytes for the batch with the most pixels, extrapolated on a GPU;
    memory_of: what it measures.
    """

    pixels: float
    evaluations: float
    seconds: float
    scoring: float
    size: float
    memory: int
    memory_of: str


@dataclass(frozen=True)
class Checked:
    """An experiment as a whole, the images it lacks, their network evaluations, and its trial."""

    experiment: Experiment
    plan: Plan
    evaluations: int
    trial: Trial

    @property
    def seconds(self) -> float:
        """Estimated time of one process for the missing images and all scores."""
        trial, missing = self.trial, self._images(self.plan.missing)
        images = len(self.plan.missing)
        in_units = self.evaluations / trial.evaluations if trial.evaluations else images
        made = trial.seconds * in_units * missing / max(1, images)
        return made + trial.scoring * self._images(self.plan.ids)

    @property
    def size(self) -> float:
        """Bytes of the missing images."""
        return self.trial.size * self._images(self.plan.missing)

    def _images(self, ids: Collection[str]) -> float:
        """How many images of the trial's size have as many pixels as these."""
        return pixels(self.experiment, self.plan, ids) / self.trial.pixels


def check_runs(overrides: Sequence[str]) -> tuple[str, bool]:
    """A report in Markdown on every run that the overrides name, and whether nothing is missing.

    Every component, example and metric is checked, and two examples of each run are made, measured
    and scored with its real settings in a temporary folder beside the results, which is removed.
    Raises UserError for overrides that cannot be composed.
    """
    combinations, _ = sweep_overrides(overrides)
    problems, chosen = Problems(), launcher(overrides)
    with problems.collected():
        chosen.check()
    composed = [_composed(one, problems, on_gpu=chosen.on_gpu) for one in combinations]
    found = [one for one in composed if one]
    experiments = list({run_id(e.spec): e for e in found}.values())
    checked = _try_all(list(map(_whole, experiments)), problems)
    jobs = sum(e.settings.shards for e in experiments)
    return _report(checked, problems, chosen, jobs), not problems.messages


def _whole(experiment: Experiment) -> Experiment:
    """The experiment without shards."""
    return replace(experiment, settings=replace(experiment.settings, shard=0, shards=1))


# ------------------------------------------------------------------ components
def _composed(
    overrides: Sequence[str], problems: Problems, *, on_gpu: bool | None
) -> Experiment | None:
    """The experiment; None if its data, model or a metric is missing."""
    own = Problems()
    _check_components(overrides, own)
    for message in own.messages:
        problems.add(message)
    if own.messages:
        return None
    with problems.collected():
        return experiment(overrides, on_gpu=on_gpu)
    return None


def _check_components(overrides: Sequence[str], problems: Problems) -> None:
    config = compose_config(overrides)
    _check_data(overrides, problems)
    with problems.collected():
        if issubclass(plugin_class("samplers", config["sampler"]["kind"]), Sampler):
            model = config["model"]
            build("models", model["kind"], plugin_settings("model", model)).digest()
    for problem in check_metrics([metric(name) for name in config["metrics"] or ()]):
        problems.add(problem)


def _check_data(overrides: Sequence[str], problems: Problems) -> None:
    name, dataset = data_set(overrides)
    status = dataset.status()
    if status.problems or not status.found:
        reasons = "; ".join(status.problems) or "no examples are found"
        problems.add(f"data={name}: {reasons}. {status.remedy}")


# ------------------------------------------------------------------ two examples
def _try_all(experiments: Sequence[Experiment], problems: Problems) -> list[Checked]:
    plans = [plan_run(e, RunStore(e.settings.results).find(e.spec)) for e in experiments]
    outlooks: list[Outlook] = []
    with problems.collected():
        outlooks = inspect_missing(list(zip(experiments, plans, strict=True)))
    models, checked = ModelCache(), []
    for one, plan, outlook in zip(experiments, plans, outlooks, strict=False):
        with problems.collected(), _folder_beside(one.settings.results) as folder:
            checked.append(Checked(one, plan, outlook.evaluations, _try(one, plan, folder, models)))
    return checked


@contextmanager
def _folder_beside(results: Path) -> Iterator[Path]:
    """Context manager: a temporary folder on the file system of the results.

    Raises UserError if nothing can be written there.
    """
    write_atomic(results / "sweeps" / ".writable", b"")
    with TemporaryDirectory(prefix=temporary_prefix(TEMPORARY), dir=results) as folder:
        yield Path(folder)


def _try(experiment: Experiment, whole: Plan, folder: Path, models: ModelCache) -> Trial:
    """Make two examples twice, measure and score them. Raises UserError if that fails.

    The first pass loads, compiles and prepares; the second is timed.
    """
    first, second = (_small(experiment, whole, folder, name) for name in ("first", "second"))
    evaluations = _evaluations(first)
    device = pick_device(first.settings.device)
    loaded = _load(first, device, models)
    run, plan, seconds = _make(first, device, models)
    costs = [row.seconds or 0 for row in run.rows().values()]
    preparing = max(seconds - sum(costs), 0) if first.task.preparations else 0
    _, _, seconds = _make(second, device, models)
    n = len(plan.ids)
    memory, memory_of = _memory(first, (plan, whole), device, loaded)
    return Trial(
        pixels=pixels(first, plan, plan.ids) / n,
        evaluations=evaluations / n,
        seconds=(seconds + preparing) / n,
        scoring=_score(first, run, plan, device),
        size=sum(row.size for row in run.rows().values()) / n,
        memory=memory,
        memory_of=memory_of,
    )


def _evaluations(experiment: Experiment) -> int:
    """Check the examples of a run; return the network evaluations that its images cost."""
    producer, ids = producer_of(experiment), plan_run(experiment, None).ids
    examples = map(experiment.dataset.load, ids)
    return sum(producer.inspect(one) for one in examples)


def _make(experiment: Experiment, device: str, models: ModelCache) -> tuple[Run, Plan, float]:
    """Make and seal a run; return the seconds that its images took."""
    run = RunStore(experiment.settings.results).open(experiment.spec)
    plan = plan_run(experiment, run)
    producer = producer_of(experiment)
    with Attempt(experiment, run, plan) as attempt:
        active = ActiveRun(experiment, run, plan, 0, attempt, lambda *_: None)
        seconds = wall_seconds(lambda: producer.make([active], models), device)
    seal_if_complete(run, plan)
    return run, plan, seconds


def _memory(
    small: Experiment, plans: tuple[Plan, Plan], device: str, loaded: int
) -> tuple[int, str]:
    """The peak memory and what it is: on a GPU that of the two examples, extrapolated to the batch
    with the most pixels.

    plans: of the examples and of the whole.
    """
    memory, memory_of = peak_memory(device)
    tried, most = (max(p.batches, key=lambda b: pixels(small, p, b)) for p in plans)
    of_tried, of_most = (pixels(small, p, b) for p, b in zip(plans, (tried, most), strict=True))
    if not loaded or memory <= loaded or of_most <= of_tried:
        return memory, memory_of
    scaled = loaded + (memory - loaded) * of_most // of_tried
    return scaled, f"{memory_of}, extrapolated from batches of {len(tried)} to {len(most)}"


def _small(experiment: Experiment, plan: Plan, folder: Path, name: str) -> Experiment:
    """The experiment on its first two examples, or on the two largest if they differ in size.

    Its results lie in a folder of their own; the cache is shared.
    """
    settings = experiment.settings
    largest = sorted(plan.ids, key=lambda i: -pixels(experiment, plan, [i]))[:_EXAMPLES]
    return replace(
        experiment,
        dataset=Subset(experiment.dataset, tuple(largest)),
        settings=replace(
            settings,
            results=folder / name,
            cache=folder / "cache",
            limit=None,
            wandb={**settings.wandb, "mode": "disabled"},
        ),
    )


def _load(experiment: Experiment, device: str, models: ModelCache) -> int:
    """Load the model if the experiment has one; return the bytes it takes on a GPU, else 0."""
    if isinstance(experiment.sampler, Sampler):
        models.get(experiment, device)
    if not device.startswith("cuda"):
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return int(torch.cuda.memory_allocated(device))


def _score(experiment: Experiment, run: Run, plan: Plan, device: str) -> float:
    """Measure the images with every metric, and score them together.

    Returns the seconds that measuring an image takes, without loading. The metrics are copies, so
    that their networks are freed afterwards.
    """
    settings = experiment.settings
    copies = [NamedMetric(n.spec, replace(n.metric)) for n in experiment.metrics]  # type: ignore[type-var]  # plug-ins are dataclasses

    def measure(example_id: str) -> None:
        measure_run(
            run,
            experiment.dataset,
            copies,
            [[example_id]],
            cache=settings.cache,
            device=device,
            workers=settings.loaders,
        )

    seconds = [wall_seconds(partial(measure, i), device) for i in plan.ids]
    evaluate_run(run, experiment.dataset, copies, cache=settings.cache, device=device, batch_size=1)
    return seconds[-1]


# ------------------------------------------------------------------ show
def _report(checked: Sequence[Checked], problems: Problems, chosen: Launcher, jobs: int) -> str:
    parts = list(chosen.notices())
    if checked:
        parts += [markdown(_table(checked)), _total(checked, min(chosen.parallel_jobs(), jobs))]
        notices = [text for one in checked for text in _notices(one)]
        parts += dict.fromkeys(notices)
    if problems.messages:
        parts.append("\n".join(["missing:", *(f"- {text}" for text in problems.messages)]))
    else:
        parts.append("nothing is missing")
    return "\n\n".join(parts)


def _notices(checked: Checked) -> list[str]:
    experiment, shapes = checked.experiment, checked.plan.shapes
    tracking = online_problem(experiment.settings.wandb)
    return [
        *([f"{experiment.spec.data.name}: {shapes}"] if shapes else []),
        *producer_of(experiment).notices(),
        *([f"wandb: {tracking}. Runs are tracked into files"] if tracking else []),
    ]


def _table(checked: Sequence[Checked]) -> Table:
    names = ("images", "evaluations", "hours", "disk", "peak memory")
    rows = []
    for one in checked:
        texts = (
            f"{len(one.plan.missing)} of {len(one.plan.ids)}",
            f"{one.evaluations:,}",
            f"{one.seconds / 3600:.2f}",
            gib(one.size),
            gib(one.trial.memory),
        )
        label = " ".join(one.experiment.overrides) or "the defaults"
        rows.append(Row(label, "arm", tuple(Cell(text=text) for text in texts)))
    columns = tuple(Column("", name) for name in names)
    return Table("check", "", "run", columns, (Block("", tuple(rows)),))


def _total(checked: Sequence[Checked], workers: int) -> str:
    images = sum(len(one.plan.missing) for one in checked)
    evaluations = sum(one.evaluations for one in checked)
    hours = sum(one.seconds for one in checked) / 3600
    size = sum(one.size for one in checked)
    largest = max((one.trial for one in checked), key=lambda trial: trial.memory)
    which = ", the largest," if any(one.plan.shapes for one in checked) else ""
    shared = f", {hours / workers:.2f} of {workers} at once" if workers > 1 else ""
    return (
        f"in all {images} images, {evaluations:,} network evaluations, about {hours:.2f} hours of "
        f"one process{shared}, {gib(size)} of disk, {gib(largest.memory)} of "
        f"memory ({largest.memory_of}).\n"
        f"The hours are from {_EXAMPLES} examples of each run{which} without loading and first "
        "calls. Full batches are often faster, as sde-edit bench tells. Scoring all images "
        "together is not in the hours"
    )
