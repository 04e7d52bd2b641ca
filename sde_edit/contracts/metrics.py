"""What a metric owes: rows that depend on each image alone, and counts that stand for copies."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from sde_edit.api.example import Example
from sde_edit.api.metric import Metric
from sde_edit.contracts.check import generators_alone, require
from sde_edit.datasets.shapes_drags import ShapesDrags
from sde_edit.imaging.shapes_world import SPLITS, make_scene

_N = 4


@cache
def inputs() -> tuple[Tensor, tuple[Example, ...]]:
    """Images of the embedded world, uint8 [N, 64, 64, 3], and examples with all that there is."""
    data = ShapesDrags()
    loaded = (data.load(i) for i in data.ids()[:_N])
    hidden = np.zeros((64, 64), np.float32)
    hidden[16:48, 8:40] = 1
    examples = tuple(replace(one, mask=hidden, hint=one.image) for one in loaded)
    scenes = [make_scene(index).render() for index in SPLITS["test"][100 : 100 + _N]]
    mixed = [(scene // 2 + one.image // 2) for scene, one in zip(scenes, examples, strict=True)]
    return torch.from_numpy(np.stack(mixed)), examples


def rows_of(metric: Metric) -> Tensor:
    """What the metric measures of the inputs. It must be loaded."""
    images, examples = inputs()
    return metric.measure(images, examples)


def check_declarations(metric: Metric) -> None:
    """it declares a version, a direction, resamplings and a convention"""
    require(metric.version >= 1, f"version is {metric.version}: it must be at least 1")
    require(isinstance(metric.higher_is_better, bool), "higher_is_better is neither true nor false")
    require(metric.resamplings > 0, f"resamplings is {metric.resamplings}: it must be above 0")
    said = metric.convention()
    require(len(said) > 20, f"convention {said!r} says too little of what the number depends on")


def check_rows(metric: Metric) -> None:
    """it measures float64 rows, finite, one for each image"""
    rows = rows_of(metric)
    require(rows.dtype == torch.float64, f"measure gives {rows.dtype}, not float64")
    fits = rows.ndim == 2 and len(rows) == _N
    require(fits, f"measure gives {tuple(rows.shape)} for {_N} images, not [{_N}, D]")
    require(bool(rows.isfinite().all()), "measure gives a number that is not finite")


def check_batch(metric: Metric) -> None:
    """a batch is as many batches of one"""
    images, examples = inputs()
    alone = [metric.measure(images[i : i + 1], examples[i : i + 1]) for i in range(_N)]
    same = torch.allclose(rows_of(metric), torch.cat(alone), rtol=1e-4, atol=1e-5)
    require(same, "an image's row depends on the others of its batch")


def check_resampling(metric: Metric) -> None:
    """to count an example twice is to have it twice"""
    rows = rows_of(metric)
    drawn = torch.tensor([0, 1, 1, 3])
    counts = torch.bincount(drawn, minlength=_N).double()[None]
    counted = metric.aggregate(rows, counts)
    require(counted.shape == (1,), f"aggregate gives {tuple(counted.shape)} for one resampling")
    repeated = metric.aggregate(rows[drawn], torch.ones(1, len(drawn)).double())
    same = torch.allclose(counted, repeated, rtol=1e-6, atol=1e-9)
    require(same, f"aggregate gives {float(counted):g} counted and {float(repeated):g} repeated")


def check_per_example(metric: Metric) -> None:
    """its values per example, if it has them, are one number for each that it does not leave out"""
    values = metric.per_example(rows_of(metric))
    if values is not None:
        without = [bool(metric.left_out(example)) for example in inputs()[1]]
        require(values.isnan().tolist() == without, "an example without a value is not left_out")
        shape = tuple(values.shape)
        require(shape == (_N,), f"per_example gives {shape} for {_N} images, not [{_N}]")
        require(values.dtype == torch.float64, f"per_example gives {values.dtype}, not float64")


def check_generators(metric: Metric) -> None:
    """it leaves the global generators alone"""
    with generators_alone():
        metric.aggregate(rows_of(metric), torch.ones(1, _N).double())


CHECKS = (
    *(check_declarations, check_rows, check_batch, check_resampling, check_per_example),
    check_generators,
)
