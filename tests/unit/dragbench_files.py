"""Small files of the official layouts of both sets called DragBench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from sde_edit.imaging.image_drags import ImageDrags
from sde_edit.registry import build

SIDE = 32


def plain_image(folder: Path, name: str, size: tuple[int, int]) -> Path:
    """Write an image of one colour into the folder, which is given back."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 40, 10)).save(folder / name)
    return folder


def write_100(
    root: Path, name: str, source: Any, target: Any, size: tuple[int, int] = (SIDE, SIDE)
) -> Path:
    """Write an item of the paper's set; gives its folder."""
    folder = plain_image(root / name, "origin_image.png", size)
    said = {"prompt": f"a {name}", "source": source, "target": target}
    (folder / "prompt.json").write_text(json.dumps(said))
    return folder


def write_205(root: Path, name: str, points: Any, size: tuple[int, int] = (SIDE, SIDE)) -> Path:
    """Write an item of the set of 205; gives its folder."""
    folder = plain_image(root / name, "original_image.png", size)
    said = {"prompt": f"a {name}", "points": points}
    (folder / "drag_instruction.json").write_text(json.dumps(said))
    return folder


def data_set(kind: str, root: Path, **settings: Any) -> ImageDrags:
    """The data set of this kind in the folder, at 32 pixels."""
    data = build("datasets", kind, {"root": str(root), "resolution": SIDE} | settings)
    assert isinstance(data, ImageDrags)
    return data
