"""Finds images of a run that were damaged after they had been made, so that they are made again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from sde_edit.errors import UserError
from sde_edit.imaging.files import read_output, to_pixels
from sde_edit.store.runs import ImageRecord, Run, pixels_digest

log = logging.getLogger("sde_edit")


def damaged_outputs(run: Run, *, every: bool = False) -> list[ImageRecord]:
    """The finished images whose files do not hold what was made.

    every: decode all files, not only those that were written later than their records.
    """
    return _damaged(run, list(run.rows().values()) if every else run.rewritten())


def _damaged(run: Run, rows: Sequence[ImageRecord]) -> list[ImageRecord]:
    if not rows:
        return []
    with ThreadPoolExecutor() as pool:
        whole = list(pool.map(lambda row: _is_whole(run, row), rows))
    return [row for row, is_whole in zip(rows, whole, strict=True) if not is_whole]


def _is_whole(run: Run, row: ImageRecord) -> bool:
    try:
        return pixels_digest(to_pixels(read_output(run.output(row)))) == row.pixels
    except UserError:
        return False


def remove_damaged(run: Run, *, every: bool = False) -> None:
    """Remove the files that `damaged_outputs` finds, so that their images are missing.

    The others are not decoded again, unless the folder cannot be written.
    """
    suspects = run.rewritten()
    newest = max(map(run.modified, suspects), default=0)  # before they are decoded
    for row in _damaged(run, list(run.rows().values()) if every else suspects):
        log.warning("%s is not the image that was made: it is made again", run.output(row))
        run.output(row).unlink(missing_ok=True)
    with suppress(OSError):
        run.trust(newest)
