"""What a data set owes: stable ids, examples of the right form, and a word on missing files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sde_edit.api.dataset import Dataset
from sde_edit.api.example import Example
from sde_edit.contracts.check import BrokenContract, generators_alone, require
from sde_edit.errors import UserError

_LOADED = 4


def check_status(dataset: Dataset) -> None:
    """its status says what is found, or what is missing and the remedy"""
    status = dataset.status()
    if status.found and not status.problems:
        found = len(dataset.ids())
        require(found == status.found, f"status finds {status.found} examples and ids {found}")
        return
    require(bool(status.problems), "status finds nothing and names no problem")
    require(bool(status.remedy), "status names a problem and no remedy")
    _refused(dataset.ids if not status.found else dataset.digest)


def _refused(read: Callable[[], object]) -> None:
    try:
        read()
    except UserError:
        return
    raise BrokenContract(f"data are missing, and {read.__name__} raises no UserError")


def _is_there(dataset: Dataset) -> bool:
    status = dataset.status()
    return bool(status.found and not status.problems)


def check_ids(dataset: Dataset) -> None:
    """its ids are texts, stable and without duplicates"""
    if _is_there(dataset):
        ids = list(dataset.ids())
        require(all(isinstance(i, str) and i for i in ids), "an id is no text, or empty")
        require(len({*ids}) == len(ids), "an id occurs twice")
        require(ids == list(dataset.ids()), "the ids come in another order the second time")


def check_examples(dataset: Dataset) -> None:
    """its examples have the form that tasks and metrics expect"""
    if _is_there(dataset):
        for i in dataset.ids()[:_LOADED]:
            one = dataset.load(i)
            require(one.id == i, f"load({i!r}) gives the example {one.id!r}")
            _check_form(one)


def _check_form(one: Example) -> None:
    for name in ("image", "truth", "reference", "hint"):
        pixels: NDArray[np.uint8] | None = getattr(one, name)
        if pixels is not None:
            form = f"{pixels.dtype} {list(pixels.shape)}"
            is_rgb = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
            require(is_rgb, f"{one.id}: {name} is {form}, not uint8 [H, W, 3]")
    size = one.image.shape[:2]
    if one.mask is not None:
        form = f"{one.mask.dtype} {list(one.mask.shape)}"
        fits = one.mask.dtype == np.float32 and one.mask.shape == size
        require(fits, f"{one.id}: mask is {form}, not float32 {list(size)}")
        low, high = float(one.mask.min()), float(one.mask.max())
        require(0 <= low <= high <= 1, f"{one.id}: mask goes from {low:g} to {high:g}, not 0 to 1")
    if one.truth is not None:
        same = one.truth.shape == one.image.shape
        require(same, f"{one.id}: truth is not of the size of image")
    for x, y in (point for drag in one.drags for point in (drag.source, drag.target)):
        inside = 0 <= x < size[1] and 0 <= y < size[0]
        require(inside, f"{one.id}: the drag's point {x:g},{y:g} is outside the image")


def check_twice(dataset: Dataset) -> None:
    """an example is the same each time"""
    if _is_there(dataset):
        first = dataset.ids()[0]
        once, again = dataset.load(first), dataset.load(first)
        require(np.array_equal(once.image, again.image), f"{first}: image differs the second time")
        require(once.caption == again.caption, f"{first}: caption differs the second time")


def check_digest(dataset: Dataset) -> None:
    """its digest is a text that stays the same"""
    if _is_there(dataset):
        once, again = dataset.digest(), dataset.digest()
        require(bool(once) and once == again, f"digest gives {once!r}, then {again!r}")


def check_generators(dataset: Dataset) -> None:
    """it leaves the global generators alone"""
    if _is_there(dataset):
        with generators_alone():
            dataset.load(dataset.ids()[0])


CHECKS = (*(check_status, check_ids, check_examples, check_twice, check_digest, check_generators),)
