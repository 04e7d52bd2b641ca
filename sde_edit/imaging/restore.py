"""Brings an edited picture back to the size of the photo that it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sde_edit.imaging.files import to_pixels

if TYPE_CHECKING:
    from sde_edit.api.example import Example, Pixels


def restored(edited: Pixels, photo: Example) -> Pixels:
    """The edited picture, uint8, at the size of the photo [H, W, 3].

    It is resized by an antialiased bicubic filter; what has the size already keeps its pixels.
    Outside the photo's mask all pixels are the photo's own.
    """
    height, width = photo.image.shape[:2]
    result = edited
    if edited.shape != photo.image.shape:
        resized = Image.fromarray(edited).resize((width, height), Image.Resampling.BICUBIC)
        result = to_pixels(resized)
    if photo.mask is None:
        return result
    whole: Pixels = np.where(photo.mask[..., None] > 0, result, photo.image)
    return whole
