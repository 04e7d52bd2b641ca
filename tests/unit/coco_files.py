"""COCO and COCO-BISON in small files of the official form."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sde_edit.registry import build
from tests.builders import picture

SIDE = 16
SIZE = (24, 18)  # of the images
N = 8
Make = Callable[..., Any]


def name(image: int) -> str:
    """The file of an image."""
    return f"{image:012d}.jpg"


def official(images: Sequence[int] = range(1, N + 1)) -> dict[str, Any]:
    """Five captions of each image; annotations lie in no order, as in the official files."""
    return {
        "info": {"description": "COCO 2017 Dataset"},
        "licenses": [],
        "images": [
            {"license": 4, "file_name": name(i), "height": 18, "width": 24, "id": i} for i in images
        ],
        "annotations": [
            {"image_id": i, "id": 100 * i + k, "caption": f"Picture {i}, caption {k}. \n"}
            for k in (3, 1, 0, 4, 2)
            for i in images
        ],
    }


def bison_row(bison_id: int, other: int, true: int) -> dict[str, Any]:
    """A row whose caption is that of image `true` and not of `other`."""
    return {
        "bison_id": bison_id,
        "caption_id": 100 * true,
        "caption": f"Target {true}. ",
        "true_image_id": true,
        "image_candidates": [
            {"image_id": i, "image_filename": f"COCO_val2014_{name(i)}"}
            for i in ((other, true) if bison_id % 2 else (true, other))
        ],
    }


def write(root: Path, file: str, content: Any) -> None:
    """Write a file of annotations."""
    (root / "annotations" / file).write_text(json.dumps(content))


def write_captions(root: Path, content: dict[str, Any]) -> None:
    """Write the captions of val2017."""
    write(root, "captions_val2017.json", content)


def write_all(root: Path) -> None:
    """Write eight images of val2017, their captions, and seven rows of BISON."""
    for folder in ("annotations", "val2017"):
        (root / folder).mkdir()
    write_captions(root, official())
    rows = [bison_row(10 + i, i, i + 1) for i in range(1, N)]
    info = {"source": "cocoval", "split": "2014"}
    write(root, "bison_annotations.cocoval2014.json", {"info": info, "data": rows})
    for i in range(1, N + 1):
        picture(*SIZE, i).save(root / "val2017" / name(i), quality=95)


def data_set(kind: str, folder: Path, **settings: Any) -> Any:
    """The data set of this kind in the folder, at 16 pixels."""
    return build("datasets", kind, {"root": str(folder), "resolution": SIDE} | settings)
