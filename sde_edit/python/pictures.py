"""Edits of arrays and pictures in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sde_edit.api.example import Point
from sde_edit.commands.edit import edit_picture
from sde_edit.config import use_plugins
from sde_edit.errors import UserError
from sde_edit.imaging.files import png_bytes, read_output
from sde_edit.overrides import read, refuse_swept, sweep
from sde_edit.store.files import write_atomic

Picture = Image.Image | NDArray[Any]


@overload
def edit(
    image: Picture, *overrides: str, prompt: str, source: str = ..., mask: Picture | None = ...,
    drags: Sequence[tuple[Point, Point]] = ..., sampler: str = ..., model: str = ...,
    seed: int = ...,
) -> Image.Image: ...  # fmt: skip
@overload
def edit(
    image: Picture, *overrides: str, prompt: str, source: str = ..., mask: Picture | None = ...,
    drags: Sequence[tuple[Point, Point]] = ..., sampler: str = ..., model: str = ...,
    seed: Sequence[int],
) -> list[Image.Image]: ...  # fmt: skip
def edit(
    image: Picture, *overrides: str, prompt: str, source: str = "", mask: Picture | None = None,
    drags: Sequence[tuple[Point, Point]] = (), sampler: str = "sde", model: str = "sd15",
    seed: int | Sequence[int] = 0,
) -> Image.Image | list[Image.Image]:  # fmt: skip
    """Edit a picture; a list of seeds gives a list of pictures. They have the picture's size.

    Outside a mask every pixel is the picture's own.

    image: a PIL image, or uint8 [H, W, 3]. prompt: what the result should show.
    What else is given says what the edit is:
        drags    drag the content, from (x, y) to (x, y) in pixels each, x to the right, y down
        source   what the picture shows now: change it into the prompt, where the mask says or,
                 without one, where the two prompts differ (DiffEdit)
        mask     repaint what it marks
    mask: a PIL image, or bool, uint8 or floats in [0, 1], [H, W]; white may change.
    overrides: as on the command line, such as "steps=100" or "task=p2p".
    Raises UserError for a picture or mask of another form, or settings that do not fit.
    """
    seeds = list(seed) if isinstance(seed, Sequence) else [seed]
    if not seeds:
        raise UserError("seed=[]: give a seed, or a list of them")
    before, after = (source, prompt) if source else (prompt, "")
    settings = [f"sampler={sampler}", f"model={model}", *overrides]
    refuse_swept(read(settings))
    use_plugins(settings)
    if all(one.key_or_group != "task" for one in read(overrides)):
        settings = [_edit_of(source=source, mask=mask, drags=drags), *settings]
    with TemporaryDirectory(prefix="sde-edit-") as name:
        folder = Path(name)
        photo = {
            "image": _write(folder / "picture.png", _as_rgb(image)),
            "mask": _write(folder / "mask.png", _as_grey(mask)) if mask is not None else None,
            "caption": before,
            "target": after,
            "drags": [[list(point) for point in pair] for pair in drags],
        }
        *made, _ = edit_picture(
            photo, out=folder / "out.png", force=False, overrides=[*settings, sweep("seed", seeds)]
        )
        images = [read_output(file) for file in made]
    return images if isinstance(seed, Sequence) else images[0]


def _edit_of(*, source: str, mask: Picture | None, drags: Sequence[tuple[Point, Point]]) -> str:
    """The task that these arguments ask for, as an override."""
    if drags and source:
        raise UserError("drags and source ask for two edits: give one of them")
    if drags:
        return "task=drag"
    if source:
        return "task=diffedit"
    if mask is None:
        raise UserError("give mask, source or drags: what of the picture is to change?")
    return "task=inpaint"


def _write(file: Path, image: Image.Image) -> str:
    write_atomic(file, png_bytes(image))
    return str(file)


def _as_rgb(image: Picture) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise UserError(
            f"image is {array.dtype} {list(array.shape)}: it must be uint8 [H, W, 3] or a PIL image"
        )
    return Image.fromarray(array)


def _as_grey(mask: Picture) -> Image.Image:
    if isinstance(mask, Image.Image):
        return mask.convert("L")
    array = np.asarray(mask)
    floating = np.issubdtype(array.dtype, np.floating)
    if array.dtype == bool or (floating and array.size and 0 <= array.min() <= array.max() <= 1):
        array = np.round(array * 255.0).astype(np.uint8)
    if array.dtype != np.uint8 or array.ndim != 2:
        raise UserError(
            f"mask is {array.dtype} {list(array.shape)}: it must be [H, W] of bool, of uint8 or of "
            "floats in [0, 1], or a PIL image"
        )
    return Image.fromarray(array)
