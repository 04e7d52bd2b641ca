"""Reads the output images of a run together with their examples, ahead of time in threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from sde_edit.api.dataset import Dataset
from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.imaging.files import read_output, to_pixels
from sde_edit.imaging.prefetch import prefetch
from sde_edit.store.runs import ImageRecord, Run, Seal, pixels_digest, rows_digest

if TYPE_CHECKING:
    from sde_edit.api.example import Pixels

    Item = tuple[Example, Pixels]


class DamagedOutputError(UserError):
    """An output file that does not hold the image that was made."""


def seal_of(run: Run) -> Seal:
    """The seal of a run. Raises UserError if the run is not sealed."""
    seal = run.seal
    if seal is None:
        raise UserError(f"run {run.path.name} is not finished: run it again to finish it")
    return seal


def sealed_rows(run: Run, seal: Seal, dataset: Dataset) -> dict[str, ImageRecord]:
    """The sealed images by id, in the order of the data set.

    Raises UserError if an image is missing, if images have changed since the sealing, or if the
    data set has fewer examples.
    """
    rows = run.rows()
    ids = dataset.ids()[: seal.n]
    if len(ids) < seal.n:
        raise UserError(
            f"run {run.path.name} holds {seal.n} images, and the data set has {len(ids)} of them "
            f"now: give data.n={seal.n} or more; data.limit asks for fewer without taking any away"
        )
    if missing := [example_id for example_id in ids if example_id not in rows]:
        raise UserError(
            f"run {run.path.name}: {len(missing)} of its {seal.n} images are missing or "
            f"cut short, first that of example {missing[0]!r}. Run it again to remake them"
        )
    sealed = {example_id: rows[example_id] for example_id in ids}
    if rows_digest(sealed.values()) != seal.digest:
        raise UserError(
            f"run {run.path.name}: images have changed since the run was sealed: run the same "
            "command again to seal it anew"
        )
    return sealed


@dataclass(frozen=True)
class Outputs:
    """Reads images of a run with their examples. rows: the records of the images, by id."""

    run: Run
    dataset: Dataset
    rows: Mapping[str, ImageRecord]
    workers: int

    def read(self, batches: Sequence[Sequence[str]]) -> Iterator[list[Item]]:
        """The items of each batch. Raises UserError naming a file that cannot be used."""
        items = prefetch(self._load, chain.from_iterable(batches), workers=self.workers)
        for batch in batches:
            yield list(islice(items, len(batch)))

    def _load(self, example_id: str) -> Item:
        return load_item(self.run, self.dataset, self.rows[example_id])


def load_item(run: Run, dataset: Dataset, row: ImageRecord) -> Item:
    """An example and its output.

    Raises DamagedOutputError for a file that does not hold what was made, and UserError for an
    image of another size than the example's.
    """
    path = run.output(row)
    again = "Delete it and run the same command again"
    try:
        output = to_pixels(read_output(path))
    except UserError as error:
        raise DamagedOutputError(str(error)) from error
    if pixels_digest(output) != row.pixels:
        raise DamagedOutputError(f"output {path} is not the image that was made. {again}")
    example = dataset.load(row.id)
    if output.shape != example.image.shape:
        (h, w), (H, W) = output.shape[:2], example.image.shape[:2]
        raise UserError(f"output {path} is {w}x{h}, example {row.id!r} is {W}x{H}. {again}")
    return example, output
