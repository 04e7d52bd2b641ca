"""What an experiment still lacks, and which experiments can share their encoding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from sde_edit.api.dataset import HasSizes
from sde_edit.engine.damage import damaged_outputs
from sde_edit.store.files import canonical
from sde_edit.store.runs import Run, batched, rows_digest, run_id

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment


@dataclass(frozen=True)
class Plan:
    """The images that an experiment asks for, and those of them that are missing."""

    ids: tuple[str, ...]  # of the whole run, after the limit
    of: int  # number of examples in the data set
    batches: tuple[tuple[str, ...], ...]  # of this shard: every n-th batch of the run
    missing: frozenset[str]  # of this shard


def plan_run(experiment: Experiment, run: Run | None) -> Plan:
    """What an experiment still lacks: images that are not there or damaged.

    Reads only the store and the ids of the data set.
    """
    settings = experiment.settings
    every = list(experiment.dataset.ids())
    ids = tuple(every[: settings.limit])
    batches = _batches(experiment, ids)
    mine = batches[settings.shard :: settings.shards]
    done = run.rows().keys() - {row.id for row in damaged_outputs(run)} if run else frozenset()
    missing = frozenset(i for batch in mine for i in batch if i not in done)
    return Plan(ids, len(every) + experiment.excluded, mine, missing)


def _batches(experiment: Experiment, ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Batches of images of one size, in the order of their first images."""
    groups: dict[tuple[int, int] | None, list[str]] = {}
    dataset = experiment.dataset
    sizes = dataset.sizes(ids) if isinstance(dataset, HasSizes) else [None] * len(ids)
    for example_id, size in zip(ids, sizes, strict=True):
        groups.setdefault(size, []).append(example_id)
    at_once = experiment.settings.batch_size
    batches = [tuple(batch) for group in groups.values() for batch in batched(group, at_once)]
    place = {example_id: number for number, example_id in enumerate(ids)}
    return tuple(sorted(batches, key=lambda batch: place[batch[0]]))


def is_sealed(run: Run, plan: Plan) -> bool:
    """Whether the seal covers the planned images as they are now."""
    seal, rows = run.seal, run.rows()
    if seal is None or seal.n < len(plan.ids) or not rows.keys() >= set(plan.ids):
        return False
    return seal.n > len(plan.ids) or seal.digest == rows_digest(rows[i] for i in plan.ids)


def seal_if_complete(run: Run, plan: Plan) -> None:
    """Seal the run if all planned images exist. A seal of more images than planned stays."""
    if not is_sealed(run, plan) and run.rows().keys() >= set(plan.ids):
        run.write_seal(plan.ids, of=plan.of)


# ------------------------------------------------------------------ shared encoding
def group_by_shared_encoding(experiments: Sequence[Experiment]) -> list[list[Experiment]]:
    """Group the experiments that differ in task.t_0 alone, if their task can encode once for all.

    Groups are in the order of their first experiments. A run that is named twice is in two groups.
    """
    groups: dict[object, list[Experiment]] = {}
    seen: Counter[str] = Counter()
    for number, experiment in enumerate(experiments):
        run = run_id(experiment.spec)
        key = (_without_t_0(experiment), seen[run]) if _can_share(experiment) else number
        groups.setdefault(key, []).append(experiment)
        seen[run] += 1
    return list(groups.values())


def _can_share(experiment: Experiment) -> bool:
    return experiment.task.shares_encoding and not experiment.spec.is_external


def _without_t_0(experiment: Experiment) -> tuple[str, str, tuple[str, ...]]:
    """What the experiments of a group have in common: spec, settings and metrics."""
    spec = experiment.spec
    params = {key: value for key, value in spec.task.params.items() if key != "t_0"}
    common = asdict(replace(spec, task=replace(spec.task, params=params)))
    metrics = tuple(named.spec.name for named in experiment.metrics)
    return canonical(common), repr(experiment.settings), metrics


def counts_encoding(experiments: Sequence[Experiment]) -> list[bool]:
    """Whether the cost of encoding counts for each experiment: in a group, for the largest t_0."""
    groups = group_by_shared_encoding(experiments)
    payers = {id(max(group, key=t_0_of)) for group in groups}
    return [id(experiment) in payers for experiment in experiments]


def t_0_of(experiment: Experiment) -> float:
    """The noise level up to which the task encodes, as a share of T."""
    return experiment.task.t_0
