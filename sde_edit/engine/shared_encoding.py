"""Which runs take the same way from the images to noise, and so can share it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from sde_edit.api.sampler import Sampler
from sde_edit.diffusion.noise import Noise
from sde_edit.store.files import canonical
from sde_edit.store.runs import run_id

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment


def group_by_shared_encoding(experiments: Sequence[Experiment]) -> list[list[Experiment]]:
    """Group the experiments that go up to noise alike; they may differ in t_0 and in the way down.

    With a sampler that draws no noise they may differ in the seed as well. Groups are in the order
    of their first experiments. A run that is named twice is in two groups.
    """
    groups: dict[object, list[Experiment]] = {}
    seen: Counter[str] = Counter()
    for number, experiment in enumerate(experiments):
        run = run_id(experiment.spec)
        key = (_way_up(experiment), seen[run]) if _can_share(experiment) else number
        groups.setdefault(key, []).append(experiment)
        seen[run] += 1
    return list(groups.values())


def edit_key(experiment: Experiment) -> str:
    """What decides the images of a run, among those of its group.

    Preparations such as masks are made with noise of their own, and so depend on the seed.
    """
    spec = experiment.spec
    seed = spec.seed if experiment.task.preparations else None
    return canonical({"task": asdict(spec.task), "seed": seed})


def _can_share(experiment: Experiment) -> bool:
    return experiment.task.encoding is not None and not experiment.spec.is_external


def _way_up(experiment: Experiment) -> tuple[object, ...]:
    """What the experiments of a group have in common.

    The seed is not among it if their sampler draws no noise: tasks with an encoding draw none.
    """
    noisy = getattr(experiment.sampler, "stochastic", True)
    different = {"task", *(() if noisy else ("seed",))}
    spec = {key: v for key, v in experiment.spec.identity().items() if key not in different}
    metrics = tuple(named.spec.name for named in experiment.metrics)
    return canonical(spec), experiment.task.encoding, repr(experiment.settings), metrics


# ------------------------------------------------------------------ what it costs
@dataclass(frozen=True)
class Share:
    """Which parts of its cost a run pays: up to noise, and down to the images."""

    up: bool
    down: bool


EVERYTHING = Share(up=True, down=True)


def shares(experiments: Sequence[Experiment]) -> list[Share]:
    """What each experiment pays.

    In a group the one with the largest t_0 pays for the way up, and the first of those with equal
    images for the way down.
    """
    found: dict[int, Share] = {}
    for group in group_by_shared_encoding(experiments):
        longest = max(group, key=lambda member: member.task.t_0)
        first = {edit_key(member): member for member in reversed(group)}
        for member in group:
            found[id(member)] = Share(up=member is longest, down=member is first[edit_key(member)])
    return [found[id(experiment)] for experiment in experiments]


def kept_bytes(experiment: Experiment) -> int:
    """The memory that the encoding of a full batch takes until the last run has decoded from it.

    As many bytes for every value of a state as the sampler keeps of a single value.
    """
    spec, sampler = experiment.spec, experiment.sampler
    assert isinstance(sampler, Sampler)
    grid = experiment.source.schedule().grid(spec.steps, spec.spacing, spec.last_sigma)
    value = torch.zeros(1, 1, 1, 1, dtype=torch.float64 if spec.dtype == "float64" else None)
    part = grid.truncated(experiment.task.t_0)
    kept = sampler.encode(lambda x, t: torch.zeros_like(x), value, part, Noise(0, ("",)))
    each = sum(tensor.numel() * tensor.element_size() for tensor in (kept.states, *kept.extra))
    return each * math.prod(experiment.source.latent_shape) * experiment.settings.batch_size
