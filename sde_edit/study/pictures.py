"""What raters see of an example: its original with marks, its edits, and words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sde_edit.api.example import Example
from sde_edit.imaging.files import png_bytes, read_output, to_pixels
from sde_edit.imaging.marks import enlarged, marked
from sde_edit.study.plan import Item, Study

_COMFORTABLE_SIDE = 384  # pixels to which small images are enlarged


def store_item(study: Study, example: Example, edits: Sequence[Path], *, outlined: bool) -> Item:
    """Store the images of an example as PNG without metadata.

    edits: the file of each arm. outlined: whether the original shows the outline of its mask.
    Raises UserError for a file that is no image.
    """
    factor = max(1, _COMFORTABLE_SIDE // example.image.shape[1])
    mask = example.mask if outlined else None
    original = marked(example.image, drags=example.drags, mask=mask, factor=factor)
    edited = [enlarged(to_pixels(read_output(file)), factor) for file in edits]
    first, *others = (study.add_image(png_bytes(picture)) for picture in (original, *edited))
    return Item(example.id, _words(example), first, tuple(others))


def _words(example: Example) -> str:
    """What the edit should show, in words."""
    if example.target and example.caption:
        return f"{example.caption} → {example.target}"
    return example.prompt


def guidelines(example: Example, *, outlined: bool) -> tuple[str, ...]:
    """What raters must know of pictures such as this one."""
    lines = ["You see an original picture and two edits of it, made by different methods."]
    if example.drags:
        lines.append("An arrow in the original shows what should move, and to where.")
    if outlined and example.mask is not None:
        lines.append("The outline in the original surrounds what may change.")
    if example.target:
        lines.append("The words above it say what was there, and what should be there.")
    elif example.caption:
        lines.append("The words above it say what the picture should show.")
    return (*lines, "A good edit does what was asked, leaves the rest alone, and looks natural.")
