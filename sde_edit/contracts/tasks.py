"""What a task owes: one image per example in any batch, its announced cost, clear refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sde_edit.api.example import Drag, Example
from sde_edit.api.model import Model
from sde_edit.api.preparation import Prepared
from sde_edit.api.task import Task
from sde_edit.contracts.check import BrokenContract, generators_alone, require
from sde_edit.datasets.shapes import Shapes
from sde_edit.datasets.shapes_edits import ShapesEdits
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid, Schedule
from sde_edit.errors import UserError
from sde_edit.registry import build

IDS = tuple(f"test-{i:06d}" for i in range(2))
STEPS = 3


@dataclass(frozen=True)
class Subject:
    """A task, and a model of 64x64 images with float64 weights that it edits with."""

    task: Task
    model: Model

    @property
    def samplers(self) -> Sequence[str]:
        """Two samplers that it works with, or the only one."""
        return self.task.samplers or ("sde", "ode")


def grid() -> Grid:
    """Stable Diffusion's times in a few steps."""
    return Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(STEPS)


def example(example_id: str) -> Example:
    """A scene with a mask, a target, and a drag by one cell of the latent: one drag step."""
    target = ShapesEdits().load(example_id).target
    drags = (Drag((24, 28), (32, 28)),)
    return replace(Shapes().load(example_id), target=target, drags=drags)


def edited(
    subject: Subject,
    ids: Sequence[str] = IDS,
    sampler: str | None = None,
    seed: int = 0,
    **settings: int,
) -> tuple[Tensor, int]:
    """The edited images of these examples, and the rows of the network that they cost.

    settings: of the sampler.
    """
    task, model = subject.task, subject.model
    method = build("samplers", sampler or subject.samplers[0], settings)
    examples, noise = [example(i) for i in ids], Noise(seed, tuple(ids))
    prepared = _prepared(task, model, examples)
    before = model.evaluations
    with torch.inference_mode():
        images = task.edit(examples, model, method, grid(), noise, prepared)
    return images, model.evaluations - before


def _prepared(task: Task, model: Model, examples: Sequence[Example]) -> Prepared:
    """What the engine hands to `edit`, without its cache."""
    results = {}
    for preparation in task.preparations:
        noise = Noise(0, tuple(preparation.key(one) for one in examples))
        with torch.inference_mode():
            contents = preparation.compute(examples, model, grid(), noise)
        pairs = zip(contents, examples, strict=True)
        results[preparation.name] = [preparation.read(*pair) for pair in pairs]
    return results


def check_images(subject: Subject) -> None:
    """it gives one uint8 image per example"""
    images, _ = edited(subject)
    require(images.dtype == torch.uint8, f"the images are {images.dtype}")
    shape = (len(IDS), 64, 64, 3)
    require(tuple(images.shape) == shape, f"the images are {tuple(images.shape)}, not {shape}")


def check_batch(subject: Subject) -> None:
    """a batch of two is two batches of one"""
    alone = torch.cat([edited(subject, [i])[0] for i in IDS])
    require(torch.equal(edited(subject)[0], alone), "an image depends on the others of its batch")


def check_cost(subject: Subject) -> None:
    """it costs what it announces"""
    task, size = subject.task, subject.model.latent_shape[1:]
    _, cost = edited(subject, sampler="ode" if "ode" in subject.samplers else None)
    said = sum(task.evaluations_of(example(i), STEPS, size, size) for i in IDS)
    require(cost == said, f"{len(IDS)} images cost {cost} rows, and evaluations_of says {said}")
    plain = len(IDS) * task.evaluations_per_image(STEPS)
    same = task.cost_varies or cost == plain
    require(same, f"{len(IDS)} images cost {cost} rows, and evaluations_per_image says {plain}")
    if task.inverts and "ode" in subject.samplers:
        _check_cost_of_encoding(subject, cost)


def _check_cost_of_encoding(subject: Subject, cost: int) -> None:
    """One more evaluation in every step of encode costs what the task calls encoding."""
    task, size = subject.task, subject.model.latent_shape[1:]
    _, more = edited(subject, sampler="ode", fixed_point=1)
    up = sum(task.encode_evaluations_of(example(i), STEPS, size, size) for i in IDS)
    require(
        more - cost == up,
        f"encoding {len(IDS)} images costs {more - cost} rows, and encode_evaluations_of says {up}",
    )


def check_sampler(subject: Subject) -> None:
    """the sampler has an effect"""
    first, *others = (edited(subject, sampler=name)[0] for name in subject.samplers)
    for other in others:
        require(not torch.equal(first, other), f"{' and '.join(subject.samplers)} give one result")


def check_generators(subject: Subject) -> None:
    """it leaves the global generators alone"""
    with generators_alone():
        edited(subject, IDS[:1])


def check_shared_encoding(subject: Subject) -> None:
    """from a longer way up, which runs of other t_0 share, come the same images"""
    task, model = subject.task, subject.model
    if task.encoding is None:
        return
    examples, noise = [example(i) for i in IDS], Noise(0, IDS)
    prepared, part = _prepared(task, model, examples), grid().truncated(task.t_0)
    for name in subject.samplers:
        method = build("samplers", name, {})
        with torch.inference_mode():
            whole = task.encoding(examples, model, method, grid(), noise)
            own = whole.tail(STEPS - part.steps)
            images = task.edit_from(own, examples, model, method, part, noise, prepared)
        same = torch.equal(images, edited(subject, sampler=name)[0])
        require(same, f"with sampler={name} edit_from differs from edit")


def check_seed(subject: Subject) -> None:
    """if it shares its encoding, all noise is the sampler's: with sampler=ode seeds are alike"""
    if subject.task.encoding is None or "ode" not in subject.samplers:
        return
    first, second = (edited(subject, sampler="ode", seed=seed)[0] for seed in (0, 1))
    require(torch.equal(first, second), "it depends on the seed")


def check_refusals(subject: Subject) -> None:
    """it refuses an example that lacks what it needs, by its id"""
    task, whole = subject.task, example(IDS[0])
    task.check(whole)
    masks = (None, np.zeros((64, 64), np.float32), np.ones((32, 64), np.float32))
    broken = {
        f"a mask of {'nothing' if mask is None else mask.shape}": replace(whole, mask=mask)
        for mask in masks
        if task.uses_mask
    }
    for lacking, one in {**broken, "no words": replace(whole, caption="", target="")}.items():
        _refused(task, one, lacking)


def _refused(task: Task, one: Example, lacking: str) -> None:
    try:
        task.check(one)
    except UserError as error:
        require(one.id in str(error), f"the error on {lacking} does not name the example: {error}")
    else:
        raise BrokenContract(f"check takes an example with {lacking}")


CHECKS = (
    *(check_images, check_batch, check_cost, check_sampler, check_generators, check_refusals),
    *(check_shared_encoding, check_seed),
)
