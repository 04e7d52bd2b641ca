"""What makes the images of a run: a network, or the import of another program's outputs.

Everything that differs between the two is here; the commands know only `Producer`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Protocol, TypeVar

from tqdm import tqdm

from sde_edit.api.sampler import ExternalOutputs, Sampler
from sde_edit.diffusion.schedule import steps_below
from sde_edit.engine.execute import ModelCache, execute
from sde_edit.engine.external import import_outputs
from sde_edit.engine.output import ActiveRun
from sde_edit.engine.plan import Plan
from sde_edit.engine.progress import MININTERVAL
from sde_edit.engine.prompt_check import cut_examples, prompt_notices, prompts_of, read_prompts
from sde_edit.engine.shared_encoding import EVERYTHING, Share, shares
from sde_edit.errors import UserError
from sde_edit.imaging.fit import extended
from sde_edit.store.files import canonical

if TYPE_CHECKING:
    from sde_edit.api.example import Example
    from sde_edit.api.experiment import Experiment
    from sde_edit.api.metric import NamedMetric

T = TypeVar("T")
log = logging.getLogger("sde_edit")


class Producer(Protocol):
    """Makes the images of an experiment, and estimates their cost beforehand."""

    def check(self) -> None:
        """Raises UserError for settings that fit no example."""

    def without_effect(self, example: Example) -> Collection[str]:
        """Messages on settings that do not act on the example."""

    def inspect(self, example: Example, share: Share = EVERYTHING) -> int:
        """Check an example; return the network evaluations (rows) that its image costs.

        Preparations such as LoRAs and masks are not counted, nor what another run pays for.
        Raises UserError naming the example if its image cannot be made.
        """

    def prompts(self, example: Example) -> list[str]:
        """The prompts that the network reads for an example."""

    def notices(self) -> list[str]:
        """What the user should know before the images are made, one message each."""

    def describe(self, plan: Plan, evaluations: int) -> str:
        """One line on the missing images and their cost."""

    def make(self, runs: Sequence[ActiveRun], models: ModelCache) -> None:
        """Make the missing images of one run, or of several that share their encoding."""


@dataclass(frozen=True)
class NetworkProducer:
    """Edits examples with a diffusion model."""

    experiment: Experiment
    sampler: Sampler

    def check(self) -> None:
        spec = self.experiment.spec
        self.experiment.source.schedule().grid(spec.steps, spec.spacing, spec.last_sigma)

    def without_effect(self, example: Example) -> Collection[str]:
        return self.experiment.task.without_effect(example)

    def inspect(self, example: Example, share: Share = EVERYTHING) -> int:
        task, steps = self.experiment.task, self._steps
        task.check(example)
        size = self._latent_size(example)
        whole = extended(example, self.experiment.source.factor or 1)
        total = task.evaluations_of(whole, steps, size, self._native)
        up = task.encode_evaluations_of(whole, steps, size, self._native)
        down = self.sampler.evaluations_per_step * (total - up)
        return share.down * down + share.up * self.sampler.encode_evaluations_per_step * up

    @property
    def _steps(self) -> int:
        """The number of steps by which the task counts its cost."""
        spec, t_0 = self.experiment.spec, self.experiment.task.t_0
        all_taken = steps_below(t_0, spec.steps) == spec.steps
        return spec.steps - (all_taken and spec.last_sigma == "one_step_in")

    def _latent_size(self, example: Example) -> tuple[int, int]:
        """(h, w) of the example's latent. Raises UserError if the model is for other sizes."""
        source, native = self.experiment.source, self._native
        height, width = example.image.shape[:2]
        if source.factor is None:
            if (height, width) != native:
                raise self._wrong_size(example, native)
        elif not (self._at_own_sizes or _suits(source.resolution, height, width)):
            raise self._wrong_size(example, (source.resolution, source.resolution))
        return source.latent_size(height, width)

    @property
    def _at_own_sizes(self) -> bool:
        """Whether the images were asked for at the sizes of their files."""
        return self.experiment.spec.data.params.get("resolution", 0) is None

    def _wrong_size(self, example: Example, wanted: tuple[int, int]) -> UserError:
        size = example.image.shape
        return UserError(
            f"{example.id}: image of {size[1]}x{size[0]} pixels, but "
            f"model={self.experiment.spec.model.name} works at {wanted[1]}x{wanted[0]}: for images "
            f"in files set data.resolution={min(wanted)} and data.fit to crop, pad or keep; "
            "data=shapes and data=shapes-edits go with model=shapes"
        )

    def prompts(self, example: Example) -> list[str]:
        return prompts_of(self.experiment, example)

    def notices(self) -> list[str]:
        task = self.experiment.task
        found = [preparation.notice for preparation in task.preparations]
        return [text for text in (*found, task.derived_settings(self._native)) if text]

    @property
    def _native(self) -> tuple[int, int]:
        _, height, width = self.experiment.source.latent_shape
        return height, width

    def describe(self, plan: Plan, evaluations: int) -> str:
        head = f"{len(plan.missing)} of {len(plan.ids)} images to make"
        cost = f"about {evaluations} network evaluations"
        shapes = [plan.shapes] if plan.shapes else []
        return "; ".join([f"{head}, {cost}", *shapes, *self.notices()])

    def make(self, runs: Sequence[ActiveRun], models: ModelCache) -> None:
        execute(runs, self.sampler, models)


def _suits(resolution: int, height: int, width: int) -> bool:
    """Whether one side is the model's, or the picture is a long one of twice the model's side."""
    short, long = sorted((height, width))
    return resolution in (short, long) or (long == 2 * resolution and short < resolution)


@dataclass(frozen=True)
class ImportProducer:
    """Imports images that another program made; no network is loaded or evaluated."""

    experiment: Experiment
    outputs: ExternalOutputs

    def check(self) -> None:
        """Nothing but the examples can be wrong."""

    def without_effect(self, example: Example) -> Collection[str]:
        return ()

    def inspect(self, example: Example, share: Share = EVERYTHING) -> int:
        self.experiment.task.check(example)
        self.outputs.read(example)
        return 0

    def prompts(self, example: Example) -> list[str]:
        return []

    def notices(self) -> list[str]:
        return []

    def describe(self, plan: Plan, evaluations: int) -> str:
        n = self.experiment.excluded
        without = f"; {n} examples have none" if n else ""
        return f"{len(plan.missing)} of {len(plan.ids)} images to import{without}"

    def make(self, runs: Sequence[ActiveRun], models: ModelCache) -> None:
        for active in runs:
            import_outputs(active, self.outputs)


def producer_of(experiment: Experiment) -> Producer:
    """What makes the images of an experiment."""
    sampler = experiment.sampler
    if isinstance(sampler, ExternalOutputs):
        return ImportProducer(experiment, sampler)
    return NetworkProducer(experiment, sampler)


def describe(experiment: Experiment, plan: Plan, evaluations: int) -> str:
    """One line on the images that will be made."""
    if not plan.missing:
        return f"all {len(plan.ids)} images are there, nothing left to do"
    return producer_of(experiment).describe(plan, evaluations)


# ------------------------------------------------------------------ before the network
@dataclass(frozen=True)
class Outlook:
    """What is known of the missing images of a run before they are made.

    evaluations: what they cost, in rows of the network. cut: the examples of which the model reads
    only the beginning of a prompt.
    """

    evaluations: int
    cut: frozenset[str]


def inspect_missing(
    runs: Sequence[tuple[Experiment, Plan]], *, scored: bool = True
) -> list[Outlook]:
    """Check every missing example and return what each run still costs, and whose prompts are cut.

    This is the only pass over the data before the network starts. An example is decoded once for
    all runs that lack it, and not kept. Logs the prompts that the model does not read as they are
    written. scored: whether the metrics of the runs must be able to measure every example, and to
    score every run. Raises UserError for the first example that cannot be used.
    """
    lacking = [k for k, (_, plan) in enumerate(runs) if plan.missing]
    producers = {k: producer_of(runs[k][0]) for k in lacking}
    for producer in producers.values():
        producer.check()

    @cache
    def pays(wanting: tuple[int, ...]) -> dict[int, Share]:
        """What each of the runs that lack an example pays for it."""
        return dict(zip(wanting, shares([runs[k][0] for k in wanting]), strict=True))

    def inspect(wanted: tuple[str, list[int]]) -> list[_Inspected]:
        example_id, wanting = wanted
        example = runs[wanting[0]][0].dataset.load(example_id)
        asked = [named for k in wanting for named in runs[k][0].metrics] if scored else []
        left_out = _left_out(asked, example)
        return [
            _Inspected(
                run=k,
                cost=producers[k].inspect(example, pays(tuple(wanting))[k]),
                without_effect=frozenset(producers[k].without_effect(example)),
                prompts=tuple((example_id, text) for text in producers[k].prompts(example)),
                left_out=left_out,
            )
            for k in wanting
        ]

    jobs = _wanted([(k, *runs[k]) for k in lacking])
    with ThreadPoolExecutor(runs[0][0].settings.loaders if runs else 1) as pool:
        done = list(_with_bar(pool.map(inspect, jobs), len(jobs)))
    of_run: list[list[_Inspected]] = [[] for _ in runs]
    for one in chain.from_iterable(done):
        of_run[one.run].append(one)
    for k in lacking:
        _refuse_idle(runs[k][1], of_run[k])
        if scored:
            _refuse_unscored(*runs[k], of_run[k])
    cut = dict(zip(lacking, _read_all([(runs[k][0], of_run[k]) for k in lacking]), strict=True))
    costs = [sum(one.cost for one in inspected) for inspected in of_run]
    return [Outlook(cost, cut.get(k, frozenset())) for k, cost in enumerate(costs)]


@dataclass(frozen=True)
class _Inspected:
    """What is known of one example of one run.

    prompts: each with the id of the example. left_out: metric -> why the example has no value.
    """

    run: int
    cost: int
    without_effect: frozenset[str]
    prompts: tuple[tuple[str, str], ...]
    left_out: Mapping[str, str]


def _left_out(asked: Sequence[NamedMetric], example: Example) -> dict[str, str]:
    """Why metrics, by name, have no value for an example.

    Raises UserError naming the first that cannot measure it.
    """
    metrics = {named.spec.name: named for named in asked}
    for named in metrics.values():
        try:
            named.metric.check(example)
        except UserError as error:
            raise named.refusal(error) from error
    reasons = {name: named.metric.left_out(example) for name, named in metrics.items()}
    return {name: why for name, why in reasons.items() if why}


def _refuse_idle(plan: Plan, inspected: Sequence[_Inspected]) -> None:
    """Raises UserError for a setting that acts on no example of the data set.

    Of a part of it, such as the first of data.limit, nothing follows.
    """
    if len(inspected) < plan.of:
        return
    if idle := frozenset.intersection(*(one.without_effect for one in inspected)):
        raise UserError("; ".join(sorted(idle)))


def _refuse_unscored(experiment: Experiment, plan: Plan, inspected: Sequence[_Inspected]) -> None:
    """Raises UserError for a metric that has a value for too few examples of the run."""
    for named in experiment.metrics:
        name, fewest = named.spec.name, named.metric.fewest
        reasons = [one.left_out[name] for one in inspected if name in one.left_out]
        valued = len(plan.ids) - len(reasons)
        if valued < fewest:
            why = f": {reasons[0]}" if reasons else ""
            raise named.refusal(
                f"a score needs examples that it can measure, {fewest} or more, and the run has "
                f"{valued}{why}. Give it others, or more of them"
            )


def _read_all(runs: Sequence[tuple[Experiment, Sequence[_Inspected]]]) -> list[frozenset[str]]:
    """The examples of each run whose prompts are cut.

    Equal prompts are read once. Each notice is logged once, though many runs of a sweep share it.
    """
    known: dict[object, frozenset[str]] = {}
    notices: dict[str, None] = {}
    cut = []
    for experiment, inspected in runs:
        texts = tuple(dict.fromkeys(text for one in inspected for text in one.prompts))
        key = canonical(asdict(experiment.spec.model)), texts
        if key not in known:
            read = read_prompts(experiment, texts)
            known[key] = cut_examples(read)
            notices |= dict.fromkeys(prompt_notices(experiment, read))
        cut.append(known[key])
    for notice in notices:
        log.warning("%s", notice)
    return cut


def _with_bar(done: Iterable[T], total: int) -> Iterable[T]:
    bar = tqdm(done, "check", total, leave=False, unit="img", mininterval=MININTERVAL, delay=2)
    return bar


def _wanted(runs: Sequence[tuple[int, Experiment, Plan]]) -> list[tuple[str, list[int]]]:
    """Each example that a run lacks, with the numbers of all runs that lack it."""
    wanting: dict[tuple[str, str], list[int]] = {}
    for k, experiment, plan in runs:
        data = canonical(asdict(experiment.spec.data))
        for example_id in sorted(plan.missing):
            wanting.setdefault((data, example_id), []).append(k)
    return [(example_id, numbers) for (_, example_id), numbers in wanting.items()]
