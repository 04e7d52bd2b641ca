"""Cuts examples into batches whose images have one size, and says which sizes there are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sde_edit.api.dataset import Dataset, HasSizes
from sde_edit.imaging.files import Size
from sde_edit.imaging.subset import Subset
from sde_edit.store.runs import batched


def sizes_of(dataset: Dataset, ids: Sequence[str]) -> dict[str, Size]:
    """Id -> (width, height) of its image; {} if all images of the data set have one size.

    Raises UserError naming a file that cannot be read.
    """
    if isinstance(dataset, Subset):
        return sizes_of(dataset.whole, ids)
    if not isinstance(dataset, HasSizes):
        return {}
    return dict(zip(ids, dataset.sizes(ids), strict=True))


def batches_of_one_size(
    ids: Sequence[str], sizes: Mapping[str, Size], at_once: int
) -> tuple[tuple[str, ...], ...]:
    """Batches of at most `at_once` ids, in the order of their first ids; sizes: of `sizes_of`.

    Images of one size keep their order, so the batches depend on the list of ids alone.
    """
    groups: dict[Size | None, list[str]] = {}
    for example_id in ids:
        groups.setdefault(sizes.get(example_id), []).append(example_id)
    batches = [tuple(batch) for group in groups.values() for batch in batched(group, at_once)]
    place = {example_id: number for number, example_id in enumerate(ids)}
    return tuple(sorted(batches, key=lambda batch: place[batch[0]]))


def in_words(sizes: Collection[Size]) -> str:
    """Such as "512x512", or "512x340 to 512x768 in 9 sizes", from the least area to the largest."""
    distinct = sorted(set(sizes), key=lambda size: (size[0] * size[1], size))
    least, largest = (f"{width}x{height}" for width, height in (distinct[0], distinct[-1]))
    return least if len(distinct) == 1 else f"{least} to {largest} in {len(distinct)} sizes"
