"""What a results folder holds, as plain records for the viewer.

Pictures are given by their paths from the report's folder.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from sde_edit.api.dataset import Dataset
from sde_edit.api.example import Example
from sde_edit.api.spec import RunSpec
from sde_edit.commands.table import stored_table
from sde_edit.config import chosen_data
from sde_edit.errors import UserError
from sde_edit.imaging.files import Size
from sde_edit.report.contact_sheet import found_mask
from sde_edit.report.leaderboard import MAIN_KEYS, Listing
from sde_edit.report.selection import flatten, varying
from sde_edit.report.table import Table
from sde_edit.store.files import canonical, short_digest
from sde_edit.store.runs import ImageRecord, Run
from sde_edit.web.report.folder import Folder
from sde_edit.web.report.pictures import (
    Thumbnail,
    keep_image,
    keep_mask,
    thumbnail_name,
    thumbnails_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger("sde_edit")
Record = Mapping[str, Any]


def stored_tables(results: Path) -> list[Table]:
    """The tables of a results folder, by name. Logs a warning for a file that holds none."""
    tables = []
    for file in sorted((results / "tables").glob("*.json")):
        try:
            table = stored_table(file.stem, results)
        except UserError as error:
            log.warning("left out: %s", error)
        else:
            tables += [table] if table else []
    return tables


# ------------------------------------------------------------------ runs
@dataclass(frozen=True)
class ShownRun:
    """A run with images, read once. data: the key of the examples that it edits."""

    run: Run
    spec: RunSpec
    records: Mapping[str, ImageRecord]

    @property
    def id(self) -> str:
        return self.run.id

    @cached_property
    def data(self) -> str:
        return short_digest(canonical(asdict(self.spec.data)))

    @property
    def folder(self) -> str:
        """The path of the run's folder."""
        return f"../runs/{quote(self.run.path.name)}"

    def thumbnails(self) -> list[Thumbnail]:
        """The thumbnails that its outputs need."""
        return list(thumbnails_of(self.run, self.records.values()))


def shown_runs(listings: Sequence[Listing]) -> list[ShownRun]:
    """The runs that have images."""
    read = (ShownRun(one.run, one.spec, dict(sorted(one.run.rows().items()))) for one in listings)
    return [run for run in read if run.records]


def run_record(run: ShownRun, sizes: Mapping[str, Size], folder: Folder) -> Record:
    """A run as the viewer reads it; lists are in the order of `ids`.

    about: its main settings, in words. masks: those that the task found, which are written into
    the report's folder; null for others. values: metric -> the value of each example; null for one
    without.
    sizes: id -> (width, height) of the image of an example that is known.
    """
    flat = flatten(run.spec)
    ids = list(run.records)
    return {
        "id": run.id,
        "about": ", ".join(f"{key} {flat[key]}" for key in MAIN_KEYS if key in flat),
        "data": run.data,
        "ids": ids,
        "folder": f"{run.folder}/outputs/",
        "files": [quote(record.file) for record in run.records.values()],
        "thumbnails": [thumbnail_name(record) for record in run.records.values()],
        "masks": [_found_mask(run.run, i, sizes.get(i), folder) for i in ids],
        "metrics": {
            name: {
                "higher": score.higher_is_better,
                "tolerance": score.tolerance,
                "values": [score.per_example.get(i) for i in ids],
            }
            for name, score in sorted(run.run.scores().items())
            if score.per_example
        },
    }


def _found_mask(run: Run, example_id: str, size: Size | None, folder: Folder) -> Record | None:
    if size is None:
        return None
    width, height = size
    mask = found_mask(run, example_id, (height, width))
    return None if mask is None else _mask(mask, folder)


def _mask(mask: NDArray[np.floating], folder: Folder) -> Record:
    """The path of a mask, and the share of the image that it hides."""
    return {"path": keep_mask(folder, mask), "hidden": round(float(mask.mean()), 4)}


def settings_labels(runs: Sequence[ShownRun]) -> dict[str, str]:
    """Run id -> the settings in which the run differs from the others, in words."""
    keys = varying([run.spec for run in runs])
    flats = {run.id: flatten(run.spec) for run in runs}
    return {
        i: ", ".join(f"{key} {flat[key]}" for key in keys if key in flat) or i
        for i, flat in flats.items()
    }


# ------------------------------------------------------------------ examples
def by_data(runs: Sequence[ShownRun]) -> dict[str, list[ShownRun]]:
    """The key of the examples -> the runs that edit them."""
    found: dict[str, list[ShownRun]] = defaultdict(list)
    for run in runs:
        found[run.data].append(run)
    return dict(found)


def examples_record(runs: Sequence[ShownRun], overrides: Sequence[str], folder: Folder) -> Record:
    """The examples that runs of one data set edit, as the viewer reads them.

    Writes their pictures into the report's folder. Where the data set is not on this machine,
    `here` is false and the examples have ids alone.
    """
    # The size of a data set is no part of its identity: that of the longest run has the others'.
    longest = max(runs, key=lambda run: len(run.records))
    dataset = _dataset(longest, overrides)
    known = set(dataset.ids()) if dataset else ()
    ids = sorted({i for run in runs for i in run.records})
    return {
        "name": longest.spec.data.name,
        "here": dataset is not None,
        "examples": [
            _example_record(dataset.load(i), folder) if dataset and i in known else {"id": i}
            for i in ids
        ],
    }


def _dataset(run: ShownRun, overrides: Sequence[str]) -> Dataset | None:
    """The data set of a run; None if it is not on this machine or is another one by now."""
    spec = run.spec.data
    try:
        found, dataset = chosen_data([*run.run.overrides(), *overrides])
    except UserError as error:
        log.warning("the report shows outputs alone for data=%s: %s", spec.name, error)
        return None
    if found.digest == spec.digest:
        return dataset
    log.warning(
        "the report shows outputs alone for data=%s: the data on this machine are not those that "
        "run %s edited. paths.data=DIR names another folder",
        *(spec.name, run.id),
    )
    return None


def _example_record(example: Example, folder: Folder) -> Record:
    """Pictures are lists: the path of the file and, if it is heavy, that of a thumbnail."""
    height, width = example.image.shape[:2]
    fields = {
        "id": example.id,
        "caption": example.caption,
        "target": example.target,
        "category": _category(example),
        "size": [width, height],
        "drags": [[*drag.source, *drag.target] for drag in example.drags],
        "source": keep_image(folder, example.image),
        "truth": _truth(example, folder),
        "mask": None if example.mask is None else _mask(example.mask, folder),
    }
    return {key: value for key, value in fields.items() if value}


def sizes_in(examples: Record) -> dict[str, Size]:
    """Id -> (width, height), of the examples whose images are known."""
    return {one["id"]: tuple(one["size"]) for one in examples["examples"] if "size" in one}


def _category(example: Example) -> str:
    """The folder in the id, as in "animal/bear"; else what is new to the embedded model."""
    return example.id.rpartition("/")[0] or example.novel


def _truth(example: Example, folder: Folder) -> list[str]:
    """The correct result, unless it is the source."""
    if example.truth is None or np.array_equal(example.truth, example.image):
        return []
    return keep_image(folder, example.truth)
