"""What an experiment still lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sde_edit.engine.damage import damaged_outputs
from sde_edit.imaging.batches import batches_of_one_size, in_words, sizes_of
from sde_edit.store.runs import ImageRecord, Run, Seal, rows_digest

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment
    from sde_edit.imaging.files import Size


@dataclass(frozen=True)
class Plan:
    """The images that an experiment asks for, and those of them that are missing."""

    ids: tuple[str, ...]  # of the whole run, after the limit
    of: int  # number of examples in the data set
    batches: tuple[tuple[str, ...], ...]  # of this shard: every n-th batch of the run
    missing: frozenset[str]  # of this shard
    sealed: bool = False  # whether the seal covered the images of the run
    sizes: Mapping[str, Size] = field(default_factory=dict)  # by id; {} if images have one size

    @property
    def shapes(self) -> str:
        """How many batches of how many sizes, if the images have several; else ""."""
        of_shard = {self.sizes[batch[0]] for batch in self.batches} if self.sizes else set()
        if len(of_shard) < 2:
            return ""
        return f"{len(self.batches)} batches, images of {in_words(of_shard)}"


def plan_run(experiment: Experiment, run: Run | None) -> Plan:
    """What an experiment still lacks: images that are not there or damaged.

    Reads only the store, the ids, and headers of images.
    """
    settings, dataset = experiment.settings, experiment.dataset
    every = list(dataset.ids())
    ids = tuple(every[: settings.limit])
    sizes = sizes_of(dataset, ids)
    batches = batches_of_one_size(ids, sizes, settings.batch_size)
    mine = batches[settings.shard :: settings.shards]
    rows = run.rows() if run else {}
    done = rows.keys() - {row.id for row in damaged_outputs(run)} if run else frozenset()
    missing = frozenset(i for batch in mine for i in batch if i not in done)
    sealed = run is not None and _seals(run.seal, ids, rows)
    return Plan(ids, len(every) + experiment.excluded, mine, missing, sealed, sizes)


def pixels(experiment: Experiment, plan: Plan, ids: Iterable[str]) -> int:
    """How many pixels these images have together."""
    side = experiment.source.resolution
    sizes = (plan.sizes.get(example_id, (side, side)) for example_id in ids)
    return sum(width * height for width, height in sizes)


def is_sealed(run: Run, plan: Plan) -> bool:
    """Whether the seal covers the planned images as they are now."""
    return _seals(run.seal, plan.ids, run.rows())


def _seals(seal: Seal | None, ids: Sequence[str], rows: Mapping[str, ImageRecord]) -> bool:
    if seal is None or seal.n < len(ids) or not rows.keys() >= set(ids):
        return False
    return seal.n > len(ids) or seal.digest == rows_digest(rows[i] for i in ids)


def seal_if_complete(run: Run, plan: Plan) -> None:
    """Seal the run if all planned images exist. A seal of more images than planned stays."""
    if not is_sealed(run, plan) and run.rows().keys() >= set(plan.ids):
        run.write_seal(plan.ids, of=plan.of)
